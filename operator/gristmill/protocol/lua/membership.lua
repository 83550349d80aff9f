-- membership.lua: workers come, tell that they live and on which chunk they sit, and go.
--
-- FCALL gristmill_hello 15 KEYS  worker info
--   info: JSON {host, pid, slots, ...}; returns msgpack {epoch, phase, spec, digest}
-- FCALL gristmill_heartbeat 15 KEYS  worker epoch info current
--   current: msgpack {nonce -> chunk that runs now}; renews these leases and the worker
--   returns msgpack {phase, suspended, gone = [nonce...] no longer held, asked = [nonce...] that should give back a tail}
-- FCALL gristmill_bye 15 KEYS  worker lost
--   lost "1": it died; its leases are given back as lost, else uncharged. Returns the number of leases given back.
-- FCALL gristmill_fail_job 15 KEYS  epoch reason message
--   nothing can run (the function can't be loaded, a deadline): returns 1 when the job was running
-- All may be repeated. A worker that is silent for three lease times is forgotten (grant.lua).

local function introduce(k, worker, info, now)
  local before = redis.call('HGET', k.workers, worker)
  local slots = cjson.decode(info).slots
  add(k, 'slots', slots - (before and cjson.decode(before).slots or 0))
  redis.call('HSET', k.workers, worker, info)
  redis.call('ZADD', k.deadlines, int(now + 3 * number(k, 'lease_ms')), 'w:' .. worker)
end

redis.register_function('gristmill_hello', function(keys, args)
  local k = bind(keys)
  if redis.call('EXISTS', k.job) == 0 then return redis.error_reply('NOJOB the queue holds no such job') end
  introduce(k, args[1], args[2], now_ms())
  local got = redis.call('HMGET', k.job, 'epoch', 'phase', 'spec', 'digest')
  return cmsgpack.pack({epoch = tonumber(got[1]), phase = got[2], spec = got[3], digest = got[4] or ''})
end)

redis.register_function('gristmill_heartbeat', function(keys, args)
  local k = bind(keys)
  if redis.call('EXISTS', k.job) == 0 then return redis.error_reply('NOJOB the queue holds no such job') end
  local current = cmsgpack.unpack(args[4])
  local now = now_ms()
  local gone, asked = {}, {}
  if get(k, 'epoch') == args[2] then
    introduce(k, args[1], args[3], now)
    for nonce, chunk in pairs(current) do
      local packed = redis.call('HGET', k.leases, nonce)
      local lease = packed and cmsgpack.unpack(packed)
      if not lease then
        gone[#gone + 1] = nonce
      else
        if lease.asked then asked[#asked + 1] = nonce end
        if lease.current ~= chunk then
          lease.current = chunk
          redis.call('HSET', k.leases, nonce, cmsgpack.pack(lease))
        end
        redis.call('ZADD', k.deadlines, int(now + number(k, 'lease_ms')), nonce)
      end
    end
  else
    for nonce in pairs(current) do gone[#gone + 1] = nonce end
  end
  reap(k, now)
  return cmsgpack.pack({phase = get(k, 'phase'), suspended = get(k, 'suspended') == '1', gone = gone, asked = asked,
                        epoch = number(k, 'epoch')})
end)

redis.register_function('gristmill_bye', function(keys, args)
  local k = bind(keys)
  local worker, lost, now, returned = args[1], args[2] == '1', now_ms(), 0
  local info = redis.call('HGET', k.workers, worker)
  if info then add(k, 'slots', -cjson.decode(info).slots) end
  local all = redis.call('HGETALL', k.leases)
  for i = 1, #all, 2 do
    local lease = cmsgpack.unpack(all[i + 1])
    if lease.worker == worker then
      returned = returned + 1
      drop(k, all[i])
      record(k, lost and 'lost' or 'released', lease.start, lease.stop, 'nonce', all[i], 'worker', worker)
      if lease.chore ~= '' then redis.call('ZADD', k.chores, 0, lease.chore) else give_back(k, lease, lost, now) end
    end
  end
  redis.call('HDEL', k.workers, worker)
  redis.call('HDEL', k.replies, worker)
  redis.call('ZREM', k.deadlines, 'w:' .. worker)
  return returned
end)

redis.register_function('gristmill_fail_job', function(keys, args)
  local k = bind(keys)
  local phase = get(k, 'phase')
  if get(k, 'epoch') ~= args[1] or (phase ~= 'running' and phase ~= 'planning') then return 0 end
  end_job(k, 'failed', args[2], args[3], now_ms())
  return 1
end)
