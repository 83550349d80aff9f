-- clock.lua: the only clock of the protocol is the server's. Tests load another text in place of this file.

local function now_ms()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end
