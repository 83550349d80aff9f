-- inspect.lua: what people and the runner want to see; changes nothing.
--
-- FCALL_RO gristmill_status 15 KEYS
--   returns msgpack {job = {field = value...} without spec and plan, workers = {worker = info JSON}, leased = chunks in flight,
--   pending, delayed, chores = units waiting, now (ms)}

local SHOWN = {'phase', 'reason', 'message', 'epoch', 'suspended', 'chunks', 'items', 'settled', 'items_done', 'items_dead', 'dead',
               'chunks_failed', 'retried', 'refused', 'expired', 'blocks', 'blocks_done', 'open', 'stored', 'cursor', 'slots',
               'digest', 'output_digest', 'bytes', 'created', 'planned', 'first_commit', 'finished', 'tolerated', 'name', 'sink'}

define('status', function(k)
  local job = {}
  local values = redis.call('HMGET', k.job, unpack(SHOWN))
  for i, field in ipairs(SHOWN) do if values[i] then job[field] = values[i] end end
  local workers, all = {}, redis.call('HGETALL', k.workers)
  for i = 1, #all, 2 do workers[all[i]] = all[i + 1] end
  local leased = 0
  all = redis.call('HVALS', k.leases)
  for i = 1, #all do
    local lease = cmsgpack.unpack(all[i])
    if lease.chore == '' then leased = leased + lease.stop - lease.start end
  end
  return cmsgpack.pack({job = job, workers = workers, leased = leased, pending = redis.call('ZCARD', k.pending),
                        delayed = redis.call('ZCARD', k.delayed), chores = redis.call('ZCARD', k.chores), now = now_ms()})
end, 'no-writes')
