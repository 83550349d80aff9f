-- grant.lua: which unit is leased next. Chores first; then the lowest pending unit; then the frontier `next`.
-- The height is what the worker asks for, and towards the end at most 1/(2·slots) of the chunks that are open.
-- Results kept for collection hold back the frontier (back-pressure), but never the lowest open chunk.

local function slots_of(k) return math.max(1, number(k, 'slots')) end

-- gives up leases and workers past their deadline, and brings back retries that are due; a bounded number a call
local function reap(k, now)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', k.deadlines, '-inf', int(now), 'LIMIT', 0, 32)) do
    redis.call('ZREM', k.deadlines, id)
    if id:sub(1, 2) == 'w:' then
      local worker = id:sub(3)
      local info = redis.call('HGET', k.workers, worker)
      if info then add(k, 'slots', -cjson.decode(info).slots) end
      redis.call('HDEL', k.workers, worker)
      redis.call('HDEL', k.replies, worker)
    else
      local packed = redis.call('HGET', k.leases, id)
      if packed then
        local lease = cmsgpack.unpack(packed)
        redis.call('HDEL', k.leases, id)
        add(k, 'expired', 1)
        record(k, 'expired', lease.start, lease.stop, 'nonce', id, 'chore', lease.chore)
        if lease.chore ~= '' then redis.call('ZADD', k.chores, 0, lease.chore) else give_back(k, lease, true, now) end
      end
    end
  end
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', k.delayed, '-inf', int(now), 'LIMIT', 0, 32)) do
    redis.call('ZREM', k.delayed, member)
    redis.call('ZADD', k.pending, member:match('^%d+'), member)
  end
end

local function height_limit(k, want)
  local fair = number(k, 'open') / (2 * slots_of(k))
  local size = 1
  local height = 0
  while height < want and size * 2 <= fair do size = size * 2; height = height + 1 end
  return size
end

-- back-pressure: may the unit that begins at `start` be leased?
local function admitted(k, start)
  return get(k, 'sink') ~= 'queue' or number(k, 'stored') < number(k, 'window') or start <= number(k, 'cursor')
end

-- takes the next unit out of pending or off the frontier, or returns nil
local function take(k, want)
  local first = redis.call('ZRANGE', k.pending, 0, 0)[1]
  if first then
    local u = unit_of(first)
    if not admitted(k, u.start) then return nil end
    redis.call('ZREM', k.pending, first)
    if u.high > u.low then return u end
    local size = height_limit(k, want)
    if u.losses == 0 and u.stop - u.start > size then
      decompose(u.start + size, u.stop, function(a, b) put(k, a, b, 0, 0, u.losses) end)
      u.stop = u.start + size
    end
    return u
  end
  local start, chunks = number(k, 'next'), number(k, 'chunks')
  if start >= chunks or not admitted(k, start) then return nil end
  local size = height_limit(k, want)
  while start % size ~= 0 do size = size / 2 end
  local stop = math.min(start + size, chunks)
  redis.call('HSET', k.job, 'next', int(stop))
  return {start = start, stop = stop, low = 0, high = 0, losses = 0}
end

-- nothing is left to lease: the holder of the longest tail is asked (by its next heartbeat) to give half of it back
local function ask(k, now)
  if number(k, 'asked') + 500 > now then return end
  redis.call('HSET', k.job, 'asked', int(now))
  local longest, id, lease = 1, nil, nil
  local all = redis.call('HGETALL', k.leases)
  for i = 1, #all, 2 do
    local l = cmsgpack.unpack(all[i + 1])
    local tail = l.stop - math.max(l.start, l.current) - 1
    if l.chore == '' and l.high == 0 and not l.asked and tail >= longest then longest, id, lease = tail, all[i], l end
  end
  if id then
    lease.asked = true
    redis.call('HSET', k.leases, id, cmsgpack.pack(lease))
  end
end

-- leases something to the worker, or returns nil
local function grant(k, nonce, worker, want, now)
  local phase = get(k, 'phase')
  if (phase ~= 'running' and phase ~= 'planning') or get(k, 'suspended') == '1' then return nil end
  local lease
  local chore = redis.call('ZRANGEBYSCORE', k.chores, '-inf', int(now), 'LIMIT', 0, 1)[1]
  if chore then
    redis.call('ZREM', k.chores, chore)
    lease = {start = 0, stop = 0, low = 0, high = 0, losses = 0, chore = chore}
  elseif phase == 'running' then
    lease = take(k, want)
    if not lease then ask(k, now) return nil end
    lease.chore = ''
    if lease.high == 0 then add(k, 'open', lease.start - lease.stop) end
  else
    return nil
  end
  lease.worker, lease.current, lease.granted, lease.nonce = worker, lease.start, now, nonce
  lease.attempt = tonumber(redis.call('HGET', k.units, unit_name(lease)) or 0) + 1
  redis.call('HSET', k.leases, nonce, cmsgpack.pack(lease))
  redis.call('ZADD', k.deadlines, int(now + number(k, 'lease_ms')), nonce)
  record(k, 'leased', lease.start, lease.stop, 'nonce', nonce, 'worker', worker, 'chore', lease.chore, 'low', int(lease.low), 'high', int(lease.high))
  return lease
end
