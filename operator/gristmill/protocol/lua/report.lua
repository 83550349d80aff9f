-- report.lua: a worker tells what it did and asks for more, in one round trip.
--
-- FCALL gristmill_report 15 KEYS  worker sequence epoch request random payload...
--   request: msgpack {steps = [step...], want = height or nil}
--   random: a number in [0, 1) for the jitter
--   returns msgpack {phase, suspended, accepted = [bool...], lease = nil or lease, error = nil or "epoch" or "stale"}
-- Steps, each for the lease `nonce`, refused (false, nothing changes) unless the lease is held:
--   {what = "done", nonce, upto, items, direct, payload = index or 0}   chunks [lease.start, upto) or the fragment are done
--   {what = "fail", nonce, chunk, kind, item, items, final, letter}     `chunk` (or the fragment) failed; chunks of the lease below it,
--                                                                       whose results died with the process, are given back
--   {what = "trim", nonce, stop}                                        the lease keeps [start, stop) only
--   {what = "release", nonce, lost}                                     what is left of the lease is given back
--   {what = "chore", nonce, data}                                       the chore is done (chores.lua)
--   {what = "chore_failed", nonce, reason, message, final, missing}     (chores.lua)
-- Repeated with the same (worker, sequence) it returns the stored reply and changes nothing.
-- It can't fail after it has written: the request is decoded and every step checked for form before the first write.

local FORM = {
  done = {nonce = 'string', upto = 'number', items = 'number', direct = 'boolean', payload = 'number'},
  fail = {nonce = 'string', chunk = 'number', kind = 'string', item = 'number', items = 'number', final = 'boolean', letter = 'string'},
  trim = {nonce = 'string', stop = 'number'},
  release = {nonce = 'string', lost = 'boolean'},
  chore = {nonce = 'string', data = 'table'},
  chore_failed = {nonce = 'string', reason = 'string', message = 'string', final = 'boolean', missing = 'table'},
}

local function well_formed(steps, payloads)
  for _, step in ipairs(steps) do
    local form = FORM[step.what]
    if not form then return false end
    for field, kind in pairs(form) do
      if type(step[field]) ~= kind then return false end
    end
    if step.what == 'done' and step.payload > payloads then return false end
  end
  return true
end

local function drop(k, nonce)
  redis.call('HDEL', k.leases, nonce)
  redis.call('ZREM', k.deadlines, nonce)
end

-- stores what is left of a lease, or ends it
local function keep_lease(k, nonce, lease)
  if lease.start < lease.stop then
    lease.current = math.max(lease.current, lease.start)
    redis.call('HSET', k.leases, nonce, cmsgpack.pack(lease))
  else
    drop(k, nonce)
  end
end

local APPLY = {}

function APPLY.done(k, step, lease, now, payloads)
  if lease.chore ~= '' then return false end
  local payload = step.payload > 0 and payloads[step.payload] or nil
  if lease.high > lease.low then
    drop(k, step.nonce)
    redis.call('HDEL', k.units, unit_name(lease))
    if payload then keep(k, lease.start, lease.stop, lease.low, lease.high, payload) end
    add(k, 'items_done', step.items)
    settle_items(k, lease.start, lease.high - lease.low, now)
    return true
  end
  if step.upto <= lease.start or step.upto > lease.stop then return false end
  local a = lease.start
  lease.start = step.upto
  keep_lease(k, step.nonce, lease)
  if step.upto - a == 1 then redis.call('HDEL', k.units, int(a)) end -- a chunk that has failed is leased alone
  if payload then keep(k, a, step.upto, 0, 0, payload) end
  add(k, 'items_done', step.items)
  redis.call('HSETNX', k.job, 'first_commit', int(now))
  settle(k, a, step.upto, step.direct, now)
  return true
end

function APPLY.fail(k, step, lease, now, _, random)
  if lease.chore ~= '' then return false end
  local fragment = lease.high > lease.low
  if step.chunk < lease.start or step.chunk >= lease.stop then return false end
  if step.chunk > lease.start then
    give_back(k, {start = lease.start, stop = step.chunk, low = 0, high = 0, losses = lease.losses}, false, now)
    lease.start = step.chunk
  end
  local u = {start = lease.start, stop = lease.start + 1, low = lease.low, high = lease.high, losses = lease.losses, worker = lease.worker}
  if fragment then drop(k, step.nonce) else lease.start = lease.start + 1 keep_lease(k, step.nonce, lease) end
  local attempts = tonumber(redis.call('HINCRBY', k.units, unit_name(u), 1))
  record(k, 'failed', u.start, u.stop, 'nonce', step.nonce, 'worker', lease.worker, 'kind', step.kind, 'item', int(step.item), 'attempt', int(attempts))
  if not step.final and attempts < number(k, 'attempts') then
    local delay = math.min(number(k, 'backoff_max_ms'), number(k, 'backoff_ms') * 2 ^ (attempts - 1))
    if not fragment then add(k, 'open', 1) end
    add(k, 'retried', 1)
    put(k, u.start, u.stop, u.low, u.high, u.losses, now + math.floor(delay * (0.5 + random / 2)))
    return true
  end
  redis.call('HDEL', k.units, unit_name(u))
  local low, high = u.low, u.high
  if not fragment then low, high = 0, step.items end
  if get(k, 'isolate') ~= '1' or high - low < 2 then
    local item = (fragment or step.items == 1 and get(k, 'isolate') == '1') and low or -1
    bury(k, u, item, step.letter, math.max(1, high - low), now)
    return true
  end
  if not fragment then redis.call('HSET', k.splits, int(u.start), int(high), 'n:' .. int(u.start), int(high)) end
  local function back(a, b) put(k, u.start, u.stop, a, b, u.losses) end
  if step.item >= low and step.item < high then
    decompose(low, step.item, back)
    decompose(step.item + 1, high, back)
    bury(k, {start = u.start, stop = u.stop, low = step.item, high = step.item + 1}, step.item, step.letter, 1, now)
  else
    decompose(low, high, function(a, b)
      if a == low and b == high then back(a, middle(a, b)) back(middle(a, b), b) else back(a, b) end
    end)
  end
  return true
end

function APPLY.trim(k, step, lease, now)
  if lease.chore ~= '' or step.stop <= lease.start or step.stop > lease.stop then return false end
  local tail = {start = step.stop, stop = lease.stop, low = 0, high = 0, losses = lease.losses}
  lease.stop, lease.asked = step.stop, false
  keep_lease(k, step.nonce, lease)
  give_back(k, tail, false, now)
  return true
end

function APPLY.release(k, step, lease, now)
  drop(k, step.nonce)
  if lease.chore ~= '' then redis.call('ZADD', k.chores, 0, lease.chore) else give_back(k, lease, step.lost, now) end
  return true
end

local function report(keys, args)
  local k = bind(keys)
  local worker, sequence = args[1], tonumber(args[2])
  local request = cmsgpack.unpack(args[4])
  local random = tonumber(args[5])
  local payloads = {}
  for i = 6, #args do payloads[i - 5] = args[i] end
  if type(request) ~= 'table' or type(request.steps) ~= 'table' or not random or not sequence
    or not well_formed(request.steps, #payloads) then
    return redis.error_reply('BADREQUEST the request is not of the form that report.lua describes')
  end
  if get(k, 'epoch') ~= args[3] then
    if redis.call('EXISTS', k.job) == 0 then return redis.error_reply('NOJOB the queue holds no such job') end
    return cmsgpack.pack({phase = get(k, 'phase'), suspended = false, accepted = {}, error = 'epoch'})
  end
  local stored = redis.call('HGET', k.replies, worker)
  if stored then
    local last = cmsgpack.unpack(stored)
    if last[1] == sequence then return last[2] end
    if last[1] > sequence then return cmsgpack.pack({phase = get(k, 'phase'), suspended = false, accepted = {}, error = 'stale'}) end
  end
  local now = now_ms()
  local accepted = {}
  for i, step in ipairs(request.steps) do
    local packed = redis.call('HGET', k.leases, step.nonce)
    local lease = packed and cmsgpack.unpack(packed)
    accepted[i] = lease and APPLY[step.what](k, step, lease, now, payloads, random) or false
    if not accepted[i] then
      add(k, 'refused', 1)
      record(k, 'refused', lease and lease.start or 0, lease and lease.stop or 0, 'nonce', step.nonce, 'worker', worker, 'step', step.what)
    end
  end
  reap(k, now)
  local lease
  if request.want then lease = grant(k, worker .. ':' .. int(sequence), worker, request.want, now) end
  local reply = cmsgpack.pack({phase = get(k, 'phase'), suspended = get(k, 'suspended') == '1', accepted = accepted, lease = lease})
  redis.call('HSET', k.replies, worker, cmsgpack.pack({sequence, reply}))
  return reply
end

redis.register_function('gristmill_report', report)
