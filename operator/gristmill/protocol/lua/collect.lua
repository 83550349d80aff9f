-- collect.lua: results kept in the queue are read in input order, and dropped only when the reader says it has them.
--
-- FCALL gristmill_collect 15 KEYS  cursor bytes
--   cursor: all chunks below it have arrived at the reader and are dropped here
--   bytes: about how much to return at the most (at least one piece, where there is one)
--   returns msgpack {cursor = next cursor, payloads = [bytes...], phase, chunks}
-- Repeated with the same cursor it returns the same pieces, or more. A chunk that was split is returned when whole.
-- A cursor below one that was told before is refused: those results are gone.
-- FCALL_RO gristmill_peek 15 KEYS  cursor bytes
--   returns the same, and changes nothing: results can be looked at as often as wanted while nobody collects them, and
--   dead letters among them can still be opened again
-- After a crash that rolled the queue back, the reader knows more than the queue. Pieces below its cursor are made again
-- and dropped; a piece that lies across the cursor is opened again, to be made in two.

local MOST = 10000 -- pieces in one answer

-- what keeps a reader from getting results from `cursor` on, or nil
local function unreadable(k, cursor, limit)
  if not is_count(cursor) or not is_count(limit) then return bad('cursor and bytes are whole numbers') end
  if cursor < number(k, 'cursor') then
    return {err = 'COLLECTED results below chunk ' .. int(number(k, 'cursor')) .. ' were collected already'}
  end
end

-- the pieces from `cursor` on that are there without a gap, and the chunk after the last
local function pieces_from(k, cursor, limit)
  local payloads, total, position, pieces = {}, 0, cursor, 0
  while total < math.max(limit, 1) and pieces < MOST do
    local members = redis.call('ZRANGEBYSCORE', k.ready, int(position), int(position))
    if #members == 0 or redis.call('HEXISTS', k.splits, int(position)) == 1 then break end
    table.sort(members, function(a, b) return tonumber(a:match('^%d+:%d+:(%d+)')) < tonumber(b:match('^%d+:%d+:(%d+)')) end)
    for _, member in ipairs(members) do
      local payload = redis.call('HGET', k.results, member)
      if payload then
        payloads[#payloads + 1] = payload
        total = total + #payload
      end
      pieces = pieces + 1
      position = tonumber(member:match('^%d+:(%d+)'))
    end
  end
  return payloads, position
end

local function collected(k, payloads, position)
  return cmsgpack.pack({cursor = position, payloads = payloads, phase = get(k, 'phase'), chunks = number(k, 'chunks')})
end

define('collect', function(k, args)
  local cursor, limit = tonumber(args[1]), tonumber(args[2])
  local refused = unreadable(k, cursor, limit)
  if refused then return refused end
  if cursor > number(k, 'cursor') then set(k, 'cursor', cursor) end
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', k.ready, '-inf', '(' .. int(cursor))) do
    local start, stop, items = member:match('^(%d+):(%d+):%d+:%d+:(%d+)$')
    start, stop = tonumber(start), tonumber(stop)
    unkeep(k, member)
    if stop > cursor then
      reopen(k, start, stop, {})
      add(k, 'items_done', -tonumber(items))
      give_back(k, {start = start, stop = cursor, low = 0, high = 0, losses = 0}, false, 0)
      give_back(k, {start = cursor, stop = stop, low = 0, high = 0, losses = 0}, false, 0)
      if get(k, 'phase') == 'complete' then set(k, 'phase', 'running') end
    end
  end
  local payloads, position = pieces_from(k, cursor, limit)
  if position > number(k, 'offered') then set(k, 'offered', position) end
  return collected(k, payloads, position)
end, 'allow-oom')

define('peek', function(k, args)
  local cursor, limit = tonumber(args[1]), tonumber(args[2])
  return unreadable(k, cursor, limit) or collected(k, pieces_from(k, cursor, limit))
end, 'no-writes')
