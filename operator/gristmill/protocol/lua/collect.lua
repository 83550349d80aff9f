-- collect.lua: results kept in the queue are read in input order, and dropped only when the reader says it has them.
--
-- FCALL gristmill_collect 15 KEYS  cursor bytes
--   cursor: all chunks below it have arrived at the reader and are dropped here
--   bytes: about how much to return at the most (at least one piece, where there is one)
--   returns msgpack {cursor = next cursor, payloads = [bytes...], phase, chunks}
-- Repeated with the same cursor it returns the same pieces, or more. A chunk that was split is returned when whole.

redis.register_function('gristmill_collect', function(keys, args)
  local k = bind(keys)
  if redis.call('EXISTS', k.job) == 0 then return redis.error_reply('NOJOB the queue holds no such job') end
  local cursor, limit = tonumber(args[1]), tonumber(args[2])
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', k.ready, '-inf', '(' .. int(cursor))) do
    local size = redis.call('HSTRLEN', k.results, member)
    redis.call('HDEL', k.results, member)
    redis.call('ZREM', k.ready, member)
    if size > 0 then add(k, 'stored', -size) end
  end
  if number(k, 'cursor') < cursor then redis.call('HSET', k.job, 'cursor', int(cursor)) end
  local payloads, total, position, going = {}, 0, cursor, true
  while going and total < limit do
    local members = redis.call('ZRANGEBYSCORE', k.ready, int(position), int(position))
    if #members == 0 or redis.call('HEXISTS', k.splits, int(position)) == 1 then break end
    table.sort(members, function(a, b) return tonumber(a:match('^%d+:%d+:(%d+)')) < tonumber(b:match('^%d+:%d+:(%d+)')) end)
    for _, member in ipairs(members) do
      local payload = redis.call('HGET', k.results, member)
      if payload then
        payloads[#payloads + 1] = payload
        total = total + #payload
      end
      position = tonumber(member:match('^%d+:(%d+)'))
    end
  end
  return cmsgpack.pack({cursor = position, payloads = payloads, phase = get(k, 'phase'), chunks = number(k, 'chunks')})
end)
