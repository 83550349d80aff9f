-- membership.lua: workers come, tell that they live and on which chunk they sit, and go.
--
-- FCALL gristmill_hello 15 KEYS  worker info
--   worker: a name that no other process ever had or will have; info: JSON {host, pid, slots, ...}
--   returns msgpack {epoch, phase, spec, digest}
-- FCALL gristmill_heartbeat 15 KEYS  worker epoch info current
--   current: msgpack {nonce -> chunk that runs now}; renews these leases and the worker
--   returns msgpack {phase, epoch, gone = [nonce...] no longer held, asked = [nonce...] that should give back a tail, and have one}
-- FCALL gristmill_bye 15 KEYS  worker lost
--   lost "1": it died; its leases are given back as lost, else uncharged. Returns the number of leases given back.
-- FCALL gristmill_fail_job 15 KEYS  epoch reason message
--   nothing can run (the function can't be loaded, a deadline): returns 1 when the job was running
-- FCALL gristmill_code 15 KEYS  epoch code accept
--   code: JSON {module = digest} of what a worker has loaded, which is kept; returns a module of which the job has another, then
--   nothing is kept, or ''; with accept "1" it takes the place of the former (an old epoch: '')
-- All may be repeated. A worker that is silent for three lease times is forgotten (grant.lua).
-- Memory may be short: all but hello are answered nevertheless, so that leases are kept, given back and ended.

-- the number of slots that a worker tells, or nil where its info is not of the form
local function slots_of(info)
  local decoded, value = pcall(cjson.decode, info)
  local slots = decoded and type(value) == 'table' and value.slots
  return is_count(slots) and slots <= 1000000 and slots or nil
end

local function introduce(k, worker, info, now)
  local before = redis.call('HGET', k.workers, worker)
  add(k, 'slots', slots_of(info) - (before and slots_of(before) or 0))
  redis.call('HSET', k.workers, worker, info)
  redis.call('ZADD', k.deadlines, int(now + 3 * number(k, 'lease_ms')), 'w' .. worker)
end

define('hello', function(k, args)
  if not slots_of(args[2]) then return bad('info is not of the form that membership.lua describes') end
  introduce(k, args[1], args[2], now_ms())
  return cmsgpack.pack({epoch = number(k, 'epoch'), phase = get(k, 'phase'), spec = redis.call('HGET', k.job, 'spec'), digest = get(k, 'digest') or ''})
end)

local function is_current(current)
  if type(current) ~= 'table' then return false end
  for nonce, chunk in pairs(current) do
    if type(nonce) ~= 'string' or not is_count(chunk) then return false end
  end
  return true
end

define('heartbeat', function(k, args)
  local decoded, current = pcall(cmsgpack.unpack, args[4])
  if not decoded or not is_current(current) or not slots_of(args[3]) then
    return bad('the arguments are not of the form that membership.lua describes')
  end
  local worker, now = args[1], now_ms()
  local gone, asked = {}, {}
  local known = get(k, 'epoch') == args[2]
  if known then introduce(k, worker, args[3], now) end
  for nonce, chunk in pairs(current) do
    local lease = known and held_lease(k, nonce, worker)
    if lease then
      if lease.asked and lease.stop - math.max(lease.start, chunk) > 1 then asked[#asked + 1] = nonce end
      if lease.current ~= chunk then
        lease.current = chunk
        redis.call('HSET', k.leases, nonce, cmsgpack.pack(lease))
      end
      redis.call('ZADD', k.deadlines, int(now + number(k, 'lease_ms')), 'l' .. nonce)
    else
      gone[#gone + 1] = nonce
    end
  end
  reap(k, now)
  return cmsgpack.pack({phase = get(k, 'phase'), gone = gone, asked = asked, epoch = number(k, 'epoch')})
end, 'allow-oom')

define('bye', function(k, args)
  local worker, lost, now, returned = args[1], args[2] == '1', now_ms(), 0
  local info = redis.call('HGET', k.workers, worker)
  if info then add(k, 'slots', -slots_of(info)) end
  local all = redis.call('HGETALL', k.leases)
  for i = 1, #all, 2 do
    local lease = cmsgpack.unpack(all[i + 1])
    if lease.worker == worker then
      returned = returned + 1
      drop(k, all[i])
      record(k, lost and 'lost' or 'released', lease.start, lease.stop, 'nonce', all[i], 'worker', worker)
      give_back_lease(k, lease, lost, now)
    end
  end
  redis.call('HDEL', k.workers, worker)
  redis.call('HDEL', k.replies, worker)
  redis.call('ZREM', k.deadlines, 'w' .. worker)
  return returned
end, 'allow-oom')

define('code', function(k, args)
  local decoded, code = pcall(cjson.decode, args[2])
  if not decoded or type(code) ~= 'table' then return bad('code is not of the form that membership.lua describes') end
  if get(k, 'epoch') ~= args[1] then return '' end
  local known, changed = cjson.decode(get(k, 'code') or '{}'), ''
  for name, digest in pairs(code) do
    if type(name) ~= 'string' or type(digest) ~= 'string' then return bad('code is not of the form that membership.lua describes') end
    local is_other = known[name] and known[name] ~= digest and args[3] ~= '1'
    if is_other and (changed == '' or name < changed) then changed = name end
    known[name] = digest
  end
  if changed == '' then set(k, 'code', cjson.encode(known)) end
  return changed
end, 'allow-oom')

define('fail_job', function(k, args)
  if get(k, 'epoch') ~= args[1] or not is_active(k) then return 0 end
  end_job(k, 'failed', args[2], args[3], now_ms())
  return 1
end, 'allow-oom')
