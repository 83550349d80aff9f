-- control.lua: a job is made, changed, paused, and tried again.
--
-- FCALL gristmill_create 15 KEYS  field value ...
--   makes the job in phase "planning" with the chore `plan`, unless it is there; returns 1 when it was made
-- FCALL gristmill_configure 15 KEYS  field value ...
--   sets parameters that may change under a running job
-- FCALL gristmill_suspend 15 KEYS  "1" or "0"
--   leases nothing any more, or again; what is leased goes on
-- FCALL gristmill_retry 15 KEYS  "chunk:item" ...  (none: every dead letter)
--   opens dead letters again with fresh attempts, and a failed or complete job with them;
--   returns how many, or -1 when results that come later were collected already

redis.register_function('gristmill_create', function(keys, args)
  local k = bind(keys)
  if redis.call('EXISTS', k.job) == 1 then return 0 end
  redis.call('HSET', k.job, 'phase', 'planning', 'created', int(now_ms()), unpack(args))
  redis.call('ZADD', k.chores, 0, 'plan')
  return 1
end)

redis.register_function('gristmill_configure', function(keys, args)
  local k = bind(keys)
  if redis.call('EXISTS', k.job) == 0 then return redis.error_reply('NOJOB the queue holds no such job') end
  redis.call('HSET', k.job, unpack(args))
  return 1
end)

redis.register_function('gristmill_suspend', function(keys, args)
  local k = bind(keys)
  if redis.call('EXISTS', k.job) == 0 then return redis.error_reply('NOJOB the queue holds no such job') end
  redis.call('HSET', k.job, 'suspended', args[1])
  return 1
end)

-- opens one dead letter; a chunk that was settled is open again
local function revive(k, chunk, item, items)
  if item < 0 then
    reopen(k, chunk, chunk + 1)
    give_back(k, {start = chunk, stop = chunk + 1, low = 0, high = 0, losses = 0}, false, 0)
  else
    if redis.call('HEXISTS', k.splits, 'n:' .. int(chunk)) == 0 then
      reopen(k, chunk, chunk + 1)  -- a chunk of one item
      give_back(k, {start = chunk, stop = chunk + 1, low = 0, high = 0, losses = 0}, false, 0)
    else
      if redis.call('HEXISTS', k.splits, int(chunk)) == 0 then reopen(k, chunk, chunk + 1) end
      redis.call('HINCRBY', k.splits, int(chunk), 1)
      put(k, chunk, chunk + 1, item, item + 1, 0)
    end
  end
  add(k, 'items_dead', -items)
  add(k, 'dead', -1)
  if redis.call('HINCRBY', k.splits, 'd:' .. int(chunk), -1) <= 0 then
    redis.call('HDEL', k.splits, 'd:' .. int(chunk))
    add(k, 'chunks_failed', -1)
  end
end

redis.register_function('gristmill_retry', function(keys, args)
  local k = bind(keys)
  if redis.call('EXISTS', k.job) == 0 then return redis.error_reply('NOJOB the queue holds no such job') end
  local names = #args > 0 and args or redis.call('HKEYS', k.dead)
  local letters = {}
  for _, name in ipairs(names) do
    local letter = redis.call('HGET', k.dead, name)
    local chunk, item = name:match('^(%d+):(-?%d+)$')
    if letter and chunk then
      if get(k, 'sink') == 'queue' and tonumber(chunk) < number(k, 'cursor') then return -1 end
      letters[#letters + 1] = {name, tonumber(chunk), tonumber(item), letter ~= '' and cjson.decode(letter).items or 1}
    end
  end
  for _, l in ipairs(letters) do
    redis.call('HDEL', k.dead, l[1])
    if get(k, 'sink') == 'queue' then
      local low, high = math.max(0, l[3]), l[3] >= 0 and l[3] + 1 or 0
      redis.call('ZREM', k.ready, table.concat({int(l[2]), int(l[2] + 1), int(low), int(high)}, ':'))
    end
    revive(k, l[2], l[3], l[4])
  end
  local phase = get(k, 'phase')
  if phase == 'failed' or (phase == 'complete' and #letters > 0) then
    redis.call('HSET', k.job, 'phase', get(k, 'plan') and 'running' or 'planning', 'reason', '', 'message', '', 'finished', 0)
    redis.call('HDEL', k.job, 'output_digest')
    if not get(k, 'plan') then redis.call('ZADD', k.chores, 0, 'plan') end
    check_end(k, now_ms())
  end
  return #letters
end)
