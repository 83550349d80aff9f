-- grant.lua: which units are leased next. Chores first; then the lowest pending unit; then the frontier `next`.
-- The height is what the worker asks for, and towards the end at most 1/(2·slots) of the chunks that are open, in all.
-- Results kept for collection hold back the frontier (back-pressure), but never the lowest open chunk.

local PIECES = 100000 -- results, however small, that may wait for collection

-- gives up leases and workers past their deadline, and brings back retries that are due; a bounded number a call
local function reap(k, now)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', k.deadlines, '-inf', int(now), 'LIMIT', 0, 32)) do
    redis.call('ZREM', k.deadlines, id)
    local name = id:sub(2)
    if id:sub(1, 1) == 'w' then
      local info = redis.call('HGET', k.workers, name)
      if info then add(k, 'slots', -cjson.decode(info).slots) end
      redis.call('HDEL', k.workers, name)
      redis.call('HDEL', k.replies, name)
    else
      local packed = redis.call('HGET', k.leases, name)
      if packed then
        local lease = cmsgpack.unpack(packed)
        redis.call('HDEL', k.leases, name)
        add(k, 'expired', 1)
        record(k, 'expired', lease.start, lease.stop, 'nonce', name, 'worker', lease.worker, 'chore', lease.chore)
        give_back_lease(k, lease, true, now)
      end
    end
  end
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', k.delayed, '-inf', int(now), 'LIMIT', 0, 32)) do
    redis.call('ZREM', k.delayed, member)
    redis.call('ZADD', k.pending, member:match('^%d+'), member)
  end
end

-- back-pressure: may the unit that begins at `start` be leased?
local function admitted(k, start)
  return get(k, 'sink') ~= 'queue' or start <= number(k, 'cursor')
    or (number(k, 'stored') < number(k, 'window') and redis.call('ZCARD', k.ready) < PIECES)
end

-- the largest aligned size, of at most `most` chunks, that a unit may have at `start`; never across the reader's cursor,
-- which lies inside a unit only after the queue was rolled back by a crash
local function size_at(k, start, most)
  local cursor = get(k, 'sink') == 'queue' and number(k, 'cursor') or 0
  if start < cursor then most = math.min(most, cursor - start) end
  local size = 1
  while size * 2 <= most and start % (size * 2) == 0 do size = size * 2 end
  return size
end

-- how many chunks a worker may take at a time
local function fair_share(k) return math.max(1, number(k, 'open') / (2 * math.max(1, number(k, 'slots')))) end

-- takes the next unit out of pending or off the frontier, or returns nil
local function take(k, want)
  local most = math.min(2 ^ want, fair_share(k))
  local first = redis.call('ZRANGE', k.pending, 0, 0)[1]
  if first then
    local u = unit_of(first)
    if not admitted(k, u.start) then return nil end
    redis.call('ZREM', k.pending, first)
    if u.high > u.low then return u end
    local length = u.stop - u.start
    local size = size_at(k, u.start, u.losses == 0 and most or length)
    if size < length and (u.losses == 0 or u.start + size == number(k, 'cursor')) then
      decompose(u.start + size, u.stop, function(a, b) put(k, a, b, 0, 0, losses_of(b - a, length, u.losses)) end)
      u.stop, u.losses = u.start + size, losses_of(size, length, u.losses)
    end
    return u
  end
  local start, chunks = number(k, 'next'), number(k, 'chunks')
  if start >= chunks or not admitted(k, start) then return nil end
  local stop = math.min(start + size_at(k, start, most), chunks)
  set(k, 'next', stop)
  return {start = start, stop = stop, low = 0, high = 0, losses = 0}
end

-- nothing is left to lease: the holder of the longest tail is asked (by its next heartbeat) to give half of it back
local function ask(k, now)
  if number(k, 'asked') + 500 > now then return end
  set(k, 'asked', now)
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
  local lease, chore
  if get(k, 'phase') == 'removing' then
    if redis.call('HLEN', k.leases) > 0 or tonumber(redis.call('ZSCORE', k.chores, 'clean') or now + 1) > now then return nil end
    chore = 'clean'
  elseif not is_active(k) or get(k, 'suspended') == '1' then
    return nil
  else
    chore = redis.call('ZRANGEBYSCORE', k.chores, '-inf', int(now), 'LIMIT', 0, 1)[1]
  end
  if chore then
    redis.call('ZREM', k.chores, chore)
    lease = {start = 0, stop = 0, low = 0, high = 0, losses = 0, chore = chore}
    lease.attempt = tonumber(redis.call('HGET', k.units, 'chore:' .. chore) or 0) + 1
  elseif get(k, 'phase') == 'running' then
    lease = take(k, want)
    if not lease then
      if number(k, 'next') >= number(k, 'chunks') then ask(k, now) end
      return nil
    end
    lease.chore = ''
    lease.attempt = tonumber(redis.call('HGET', k.units, unit_name(lease)) or 0) + 1
    if lease.high == 0 then add(k, 'open', lease.start - lease.stop) end
  else
    return nil
  end
  lease.worker, lease.current, lease.granted, lease.nonce = worker, lease.start, now, nonce
  redis.call('HSET', k.leases, nonce, cmsgpack.pack(lease))
  redis.call('ZADD', k.deadlines, int(now + number(k, 'lease_ms')), 'l' .. nonce)
  record(k, 'leased', lease.start, lease.stop, 'nonce', nonce, 'worker', worker, 'chore', lease.chore, 'low', int(lease.low), 'high', int(lease.high))
  return lease
end

-- leases up to `most` units, or one chore; the nonces after the first have a number behind them
local function grant_some(k, nonce, worker, want, most, now)
  local leases, taken, fair = {}, 0, fair_share(k)
  while #leases < most and taken < fair do
    local lease = grant(k, #leases == 0 and nonce or nonce .. ':' .. #leases, worker, want, now)
    if not lease then break end
    leases[#leases + 1] = lease
    if lease.chore ~= '' then break end
    taken = taken + math.max(1, lease.stop - lease.start)
  end
  return leases
end
