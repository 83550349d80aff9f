-- report.lua: a worker tells what it did and asks for more, in one round trip.
--
-- FCALL gristmill_report 15 KEYS  worker sequence epoch request random payload...
--   request: msgpack {steps = [step...], want = height of an interval or nil, most = number of intervals (1)}
--   random: a number in [0, 1) for the jitter
--   returns msgpack {phase, accepted = [bool...], leases = [lease...], error = nil or "epoch" or "stale"}
-- Steps, each for the lease `nonce`, refused (false, nothing changes) unless this worker holds the lease:
--   {what = "done", nonce, start, upto, items, direct, payload = index or 0}
--                                                                       chunks [start, upto) or the fragment are done
--   {what = "fail", nonce, chunk, kind, item, items, final, letter}     `chunk` (or the fragment) failed; chunks of the lease below it,
--                                                                       whose results died with the process, are given back
--   {what = "trim", nonce, stop}                                        the lease keeps [start, stop) only
--   {what = "release", nonce, lost}                                     what is left of the lease is given back
--   {what = "chore", nonce, data}                                       the chore is done (chores.lua)
--   {what = "chore_failed", nonce, reason, message, final, missing}     (chores.lua)
-- `start` is where the worker stands. If the lease stands elsewhere, the queue was rolled back by a
-- crash between two reports: the step is refused, and the lease is given back uncharged.
-- Repeated with the same (worker, sequence) it returns the stored reply and changes nothing. A worker that is silent for
-- three lease times is forgotten with its reply; by then it holds no lease that a late repetition could touch.
-- It can't fail after it has written: the request is decoded and every step checked for form before the first write.

local function is(kind) return function(x) return type(x) == kind end end

local FORM = {
  done = {nonce = is('string'), start = is_count, upto = is_count, items = is_count, direct = is('boolean'), payload = is_count},
  fail = {nonce = is('string'), chunk = is_count, kind = is('string'), item = is_item, items = is_count,
          final = is('boolean'), letter = is('string')},
  trim = {nonce = is('string'), stop = is_count},
  release = {nonce = is('string'), lost = is('boolean')},
  chore = {nonce = is('string'), data = is('table')},
  chore_failed = {nonce = is('string'), reason = is('string'), message = is('string'), final = is('boolean'), missing = is('table')},
}

local function has_form(x, form)
  if type(x) ~= 'table' then return false end
  for field, fits in pairs(form) do
    if not fits(x[field]) then return false end
  end
  return true
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

-- whether the worker stands where the lease does; if not, the lease is given back
local function stands(k, step, lease, now)
  if step.start == lease.start then return true end
  drop(k, step.nonce)
  give_back(k, lease, false, now)
  return false
end

local APPLY = {}
local chore_fault -- chores.lua

function APPLY.done(k, step, lease, now, payloads)
  if lease.chore ~= '' or not stands(k, step, lease, now) then return false end
  local kept = get(k, 'sink') == 'queue'
  local payload = payloads[step.payload]
  if lease.high > lease.low then
    drop(k, step.nonce)
    redis.call('HDEL', k.units, unit_name(lease))
    if kept then keep(k, lease.start, lease.stop, lease.low, lease.high, step.items, payload) end
    add(k, 'items_done', step.items)
    settle_items(k, lease.start, lease.high - lease.low, now)
    return true
  end
  local a, b = lease.start, step.upto
  if b <= a or b > lease.stop or (step.direct and not covers_blocks(k, a, b)) then return false end
  if kept and a < number(k, 'cursor') and number(k, 'cursor') < b then -- leased before the reader told where it is
    drop(k, step.nonce)
    give_back(k, lease, false, now)
    return false
  end
  lease.losses = losses_of(lease.stop - b, lease.stop - a, lease.losses)
  lease.start = b
  keep_lease(k, step.nonce, lease)
  if lease.attempt > 1 then redis.call('HDEL', k.units, int(a)) end -- a chunk that has failed is leased alone
  if kept then keep(k, a, b, 0, 0, step.items, payload) end
  add(k, 'items_done', step.items)
  if not get(k, 'first_commit') then set(k, 'first_commit', now) end
  settle(k, a, b, step.direct, now)
  return true
end

-- an item of a chunk (or fragment) is known to be the culprit, or not: it is buried alone, or what is left is halved
local function isolate(k, u, low, high, step, now)
  if step.item >= low and step.item < high then
    local function back(a, b) put(k, u.start, u.stop, a, b, losses_of(b - a, high - low, u.losses)) end
    decompose(low, step.item, back)
    decompose(step.item + 1, high, back)
    bury(k, {start = u.start, stop = u.stop, low = step.item, high = step.item + 1}, step.item, step.letter, 1, now)
  else
    put_halves(k, u, low, high)
  end
end

function APPLY.fail(k, step, lease, now, _, random)
  if lease.chore ~= '' or step.chunk < lease.start or step.chunk >= lease.stop then return false end
  local fragment = lease.high > lease.low
  local function part(start, stop)
    local losses = losses_of(stop - start, lease.stop - lease.start, lease.losses)
    return {start = start, stop = stop, low = lease.low, high = lease.high, losses = losses}
  end
  local u, before, rest = part(step.chunk, step.chunk + 1), part(lease.start, step.chunk), part(step.chunk + 1, lease.stop)
  if step.chunk > lease.start then give_back(k, before, false, now) end
  if fragment then
    drop(k, step.nonce)
  else
    lease.start, lease.losses = rest.start, rest.losses
    keep_lease(k, step.nonce, lease)
  end
  local attempts = redis.call('HINCRBY', k.units, unit_name(u), 1)
  record(k, 'failed', u.start, u.stop, 'nonce', step.nonce, 'worker', lease.worker, 'kind', step.kind:sub(1, 100),
    'item', int(step.item), 'attempt', int(attempts))
  if not step.final and attempts < number(k, 'attempts') then
    local delay = math.min(number(k, 'backoff_max_ms'), number(k, 'backoff_ms') * 2 ^ (attempts - 1))
    if not fragment then add(k, 'open', 1) end
    add(k, 'retried', 1)
    put(k, u.start, u.stop, u.low, u.high, u.losses, now + math.floor(delay * (0.5 + random / 2)))
    return true
  end
  redis.call('HDEL', k.units, unit_name(u))
  if fragment then
    if u.high - u.low == 1 then bury(k, u, u.low, step.letter, 1, now) else isolate(k, u, u.low, u.high, step, now) end
  elseif get(k, 'isolate') == '1' and step.items > 1 then
    split_chunk(k, u, step.items)
    isolate(k, u, 0, step.items, step, now)
  else
    local alone = get(k, 'isolate') == '1' and step.items == 1
    bury(k, u, alone and 0 or -1, step.letter, math.max(1, step.items), now)
  end
  return true
end

function APPLY.trim(k, step, lease, now)
  if lease.chore ~= '' or step.stop <= lease.start or step.stop > lease.stop then return false end
  local length, losses = lease.stop - lease.start, lease.losses
  local tail = {start = step.stop, stop = lease.stop, low = 0, high = 0, losses = losses_of(lease.stop - step.stop, length, losses)}
  lease.losses = losses_of(step.stop - lease.start, length, losses)
  lease.stop, lease.asked = step.stop, false
  keep_lease(k, step.nonce, lease)
  give_back(k, tail, false, now)
  return true
end

function APPLY.release(k, step, lease, now)
  drop(k, step.nonce)
  give_back_lease(k, lease, step.lost, now)
  return true
end

local function held_lease(k, nonce, worker)
  local packed = redis.call('HGET', k.leases, nonce)
  local lease = packed and cmsgpack.unpack(packed)
  return lease and lease.worker == worker and lease or nil
end

-- nil, or what is wrong with the request
local function fault_of(k, worker, request, payloads)
  if type(request) ~= 'table' or type(request.steps) ~= 'table' then return 'no steps' end
  if request.want and not (is_count(request.want) and request.want <= 53) then return 'want is no height' end
  if request.most and not (is_count(request.most) and request.most <= 1024) then return 'most is no number of intervals' end
  for _, step in ipairs(request.steps) do
    local form = type(step) == 'table' and FORM[step.what]
    if not form or not has_form(step, form) then return 'a step is not of its form' end
    if step.what == 'done' and step.payload > payloads then return 'a payload is not there' end
    if step.what:sub(1, 5) == 'chore' then
      local lease = held_lease(k, step.nonce, worker)
      local fault = lease and chore_fault(k, step, lease.chore)
      if fault then return fault end
    end
  end
end

define('report', function(k, args)
  local worker, sequence, random = args[1], tonumber(args[2]), tonumber(args[5])
  local decoded, request = pcall(cmsgpack.unpack, args[4])
  local payloads = {}
  for i = 6, #args do payloads[i - 5] = args[i] end
  if not decoded or not is_count(sequence) or not random or not (random >= 0 and random < 1) then
    return bad('the arguments are not of the form that report.lua describes')
  end
  if get(k, 'epoch') ~= args[3] then
    return cmsgpack.pack({phase = get(k, 'phase'), accepted = {}, error = 'epoch'})
  end
  local stored = redis.call('HGET', k.replies, worker)
  if stored then
    local last = cmsgpack.unpack(stored)
    if last[1] == sequence then
      redis.call('HSET', k.replies, worker, stored) -- a write, so that a WAITAOF behind the repetition waits
      return last[2]
    end
    if last[1] > sequence then return cmsgpack.pack({phase = get(k, 'phase'), accepted = {}, error = 'stale'}) end
  end
  local fault = fault_of(k, worker, request, #payloads)
  if fault then return bad(fault) end
  local now = now_ms()
  local accepted = {}
  for i, step in ipairs(request.steps) do
    local lease = held_lease(k, step.nonce, worker)
    accepted[i] = lease and APPLY[step.what](k, step, lease, now, payloads, random) or false
    if not accepted[i] then
      add(k, 'refused', 1)
      record(k, 'refused', lease and lease.start or 0, lease and lease.stop or 0, 'nonce', step.nonce, 'worker', worker, 'step', step.what)
    end
  end
  reap(k, now)
  redis.call('ZADD', k.deadlines, int(now + 3 * number(k, 'lease_ms')), 'w' .. worker)
  local leases = {}
  if request.want then leases = grant_some(k, worker .. ':' .. int(sequence), worker, request.want, request.most or 1, now) end
  local reply = cmsgpack.pack({phase = get(k, 'phase'), accepted = accepted, leases = leases})
  redis.call('HSET', k.replies, worker, cmsgpack.pack({sequence, reply}))
  return reply
end)
