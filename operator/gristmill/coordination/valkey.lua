-- valkey.lua: one write to the records of a name space, under conditions. Reads need no script.
--
-- KEYS  lock, session, node (for each kind a hash: name -> msgpack {group, fields, value, owner = {name, uid} or false, revision, uid}),
--       log (stream), last (string: the last revision)
-- ARGV  what ("create", "update" or "delete"), kind, name, msgpack of what is given:
--   create  {group, fields, value, owner}
--   update  {changes = {field = text or false}, value = text or nil, where = {field = text or false}, revision = number or nil}
--   delete  {revision = number or nil, uid = text or ""}
-- Returns the record after it (msgpack; of a deleted one as it was), or an error that begins with EXISTS, MISSING, CONFLICT or NOOWNER.
--
-- A revision is the server's time (µs), or one more than the last where that is not later: so it rises, although the server may
-- lose what it wrote in its last second. Each write adds one entry to the log, whose id is `revision-0`: {kind, name, group, deleted,
-- before = the revision before, record}. Of the log some 10,000 entries are kept: who finds an entry whose `before` is not what they saw last
-- has missed some; of large records fewer are kept. With a session the records that it owns are deleted, each by an entry of its own. Nothing is written before all is checked.
-- The script looks at one record and its owner; where a session is deleted, at all.

local records, log, last = {lock = KEYS[1], session = KEYS[2], node = KEYS[3]}, KEYS[4], KEYS[5]
local what, kind, name = ARGV[1], ARGV[2], ARGV[3]
local given = cmsgpack.unpack(ARGV[4])
local KEPT, LEAST, KEPT_BYTES = 10000, 64, 32 * 1024 * 1024
local place = kind .. '/' .. name
local packed = redis.call('HGET', records[kind], name)
local record = packed and cmsgpack.unpack(packed)

local function int(number) return string.format('%.0f', number) end

local function write(what_kind, what_name, found, deleted)
  local before = tonumber(redis.call('GET', last) or '0')
  local time = redis.call('TIME')
  local revision = math.max(before + 1, tonumber(time[1]) * 1000000 + tonumber(time[2]))
  if not deleted then
    found.revision = revision
    if found.uid == '' then found.uid = int(revision) end
  end
  local text = cmsgpack.pack(found)
  redis.call('SET', last, int(revision))
  if deleted then redis.call('HDEL', records[what_kind], what_name) else redis.call('HSET', records[what_kind], what_name, text) end
  local kept = math.floor(math.max(LEAST, math.min(KEPT, KEPT_BYTES / #text)))
  redis.call('XADD', log, 'MAXLEN', kept, int(revision) .. '-0', 'kind', what_kind, 'name', what_name, 'group', found.group,
             'deleted', deleted and '1' or '0', 'before', int(before), 'record', text)
  return text
end

if what == 'create' then
  if record then return redis.error_reply('EXISTS ' .. place) end
  local owner = given.owner and redis.call('HGET', records.session, given.owner[1])
  if given.owner and not (owner and cmsgpack.unpack(owner).uid == given.owner[2]) then
    return redis.error_reply('NOOWNER session/' .. given.owner[1])
  end
  return write(kind, name, {group = given.group, fields = given.fields, value = given.value, owner = given.owner, uid = ''}, false)
end

if not record then return redis.error_reply('MISSING ' .. place) end
if given.revision and given.revision ~= record.revision then return redis.error_reply('CONFLICT ' .. place) end

if what == 'delete' then
  if given.uid ~= '' and given.uid ~= record.uid then return redis.error_reply('CONFLICT ' .. place) end
  if kind == 'session' then
    for other, hash in pairs(records) do
      local all = redis.call('HGETALL', hash)
      for i = 1, #all, 2 do
        local one = cmsgpack.unpack(all[i + 1])
        if one.owner and one.owner[2] == record.uid then write(other, all[i], one, true) end
      end
    end
  end
  return write(kind, name, record, true)
end

for field, text in pairs(given.where) do
  if (record.fields[field] or false) ~= text then return redis.error_reply('CONFLICT ' .. place) end
end
for field, text in pairs(given.changes) do record.fields[field] = text or nil end
if given.value then record.value = given.value end
return write(kind, name, record, false)
