-- control.lua: a job is made, changed, paused, and tried again.
--
-- FCALL gristmill_create 15 KEYS  field value ...
--   makes the job in phase "planning" with the chore `plan`, unless it is there; returns 1 when it was made
-- FCALL gristmill_configure 15 KEYS  field value ...
--   sets parameters that may change under a running job
-- FCALL gristmill_cancel 15 KEYS
--   gives the job up: phase "removing", nothing is leased any more but, when all leases are back, the chore `clean`, which
--   removes what is staged in the output; then (at once, where nothing is staged) phase "removed". Returns the phase.
--   The reason is Removed; or RemovalIncomplete, where `clean` was given up (chores.lua)
-- FCALL gristmill_suspend 15 KEYS  "1" or "0"
--   leases nothing any more, or again; what is leased goes on
-- FCALL gristmill_retry 15 KEYS  "chunk:item" ...
--   opens these dead letters again with fresh attempts, and a failed or complete job with them;
--   returns how many, or -1 when results that come later were handed to the reader already, -2 when the job was given up

redis.register_function('gristmill_create', function(keys, args)
  if #keys ~= #NAMES or #args % 2 == 1 then return bad('create takes the keys that base.lua lists, and pairs') end
  local k = load_job(keys)
  if get(k, 'phase') then return 0 end
  redis.call('HSET', k.job, 'phase', 'planning', 'created', int(now_ms()), unpack(args))
  redis.call('ZADD', k.chores, 0, 'plan')
  return 1
end)

define('configure', function(k, args)
  if #args % 2 == 1 then return bad('configure takes pairs') end
  for i = 1, #args, 2 do redis.call('HSET', k.job, args[i], args[i + 1]) end
  return 1
end, 'allow-oom')

define('cancel', function(k)
  if get(k, 'phase') == 'removing' or get(k, 'phase') == 'removed' then return get(k, 'phase') end
  local staged = get(k, 'sink') == 'url' and get(k, 'digest') and (get(k, 'phase') ~= 'complete' or number(k, 'dead') > 0)
  redis.call('DEL', k.pending, k.delayed, k.chores)
  set(k, 'next', number(k, 'chunks'))
  end_job(k, staged and 'removing' or 'removed', 'Removed', 'it was given up', now_ms())
  if staged then redis.call('ZADD', k.chores, 0, 'clean') end
  return get(k, 'phase')
end, 'allow-oom')

define('suspend', function(k, args)
  set(k, 'suspended', args[1])
  return 1
end, 'allow-oom')

local function is_split(k, chunk) return redis.call('HEXISTS', k.splits, 'n:' .. int(chunk)) == 1 end

-- opens one dead letter; a chunk that was settled is open again. `opened`: chunks that were opened whole
local function revive(k, chunk, item, items, held, opened)
  if item < 0 or not is_split(k, chunk) then
    if not opened[chunk] then
      reopen(k, chunk, chunk + 1, held)
      give_back(k, {start = chunk, stop = chunk + 1, low = 0, high = 0, losses = 0}, false, 0)
    end
    opened[chunk] = true
  else
    if redis.call('HEXISTS', k.splits, int(chunk)) == 0 then reopen(k, chunk, chunk + 1, held) end
    redis.call('HINCRBY', k.splits, int(chunk), 1)
    put(k, chunk, chunk + 1, item, item + 1, 0)
  end
  add(k, 'items_dead', -items)
  add(k, 'dead', -1)
  if redis.call('HINCRBY', k.splits, 'd:' .. int(chunk), -1) <= 0 then
    redis.call('HDEL', k.splits, 'd:' .. int(chunk))
    add(k, 'chunks_failed', -1)
  end
end

-- the names, and (of a recovered chunk, of which nobody knows how many items it has) all letters of the same chunk
local function with_siblings(k, names)
  local whole = {}
  for _, name in ipairs(names) do
    local chunk = name:match('^(%d+):')
    if chunk and tonumber(redis.call('HGET', k.splits, 'd:' .. chunk) or 0) > 1 and not is_split(k, tonumber(chunk)) then whole[chunk] = true end
  end
  if not next(whole) then return names end
  local all = {unpack(names)}
  for _, name in ipairs(redis.call('HKEYS', k.dead)) do
    if whole[name:match('^(%d+):')] then all[#all + 1] = name end
  end
  return all
end

define('retry', function(k, args)
  if get(k, 'phase') == 'removing' or get(k, 'phase') == 'removed' then return -2 end
  local queue, letters, opened = get(k, 'sink') == 'queue', {}, {}
  for _, name in ipairs(with_siblings(k, args)) do
    local chunk, item = name:match('^(%d+):(-?%d+)$')
    local letter = chunk and redis.call('HGET', k.dead, name)
    if letter then
      if queue and tonumber(chunk) < math.max(number(k, 'cursor'), number(k, 'offered')) then return -1 end
      letters[name] = {tonumber(chunk), tonumber(item), tonumber(letter:match('^%d+'))}
    end
  end
  local count, held = 0, chores_held(k)
  for name, l in pairs(letters) do
    local chunk, item, items = unpack(l)
    count = count + 1
    redis.call('HDEL', k.dead, name)
    if queue then unkeep(k, table.concat({int(chunk), int(chunk + 1), int(math.max(item, 0)), int(item + 1), '0'}, ':')) end
    revive(k, chunk, item, items, held, opened)
  end
  local phase = get(k, 'phase')
  if phase == 'failed' or (phase == 'complete' and count > 0) then
    set(k, 'phase', get(k, 'digest') and 'running' or 'planning')
    redis.call('HSET', k.job, 'reason', '', 'message', '', 'finished', 0)
    redis.call('HDEL', k.job, 'output_digest')
    if not get(k, 'digest') and not held.plan then redis.call('ZADD', k.chores, 0, 'plan') end
    check_end(k, now_ms())
  end
  return count
end)
