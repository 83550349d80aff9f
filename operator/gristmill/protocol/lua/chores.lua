-- chores.lua: what follows when a chore is done or has failed. Extends the steps of report.lua.
--
-- data of the chore `plan`:
--   {digest, chunks, items (-1: unknown), blocks, block_height, tolerated, plan (the plan's JSON),
--    finished = nil or {digest, items, bytes},          the output is complete already
--    recovered = nil or {pieces = [[start, stop, low, high]...]   what is still to do,
--                        settled, items, blocks_done, blocks = [[block, chunks settled]...], assemble = [block...],
--                        splits = [[chunk, items left, items]...], dead = [[chunk, item, items, letter]...]}}
-- data of `assemble:BLOCK`: {}; data of `finish`: {digest, items, bytes, url}
-- chore_failed: `missing` = [[start, stop]...] are chunks counted as done whose parts are not in the output: they are
-- opened again. Otherwise the chore is tried again, 5 times in all, then the job fails with `reason`.

local CHORE_ATTEMPTS = 5

local function recover(k, r)
  redis.call('HSET', k.job, 'next', get(k, 'chunks'), 'settled', int(r.settled), 'items_done', int(r.items), 'blocks_done', int(r.blocks_done))
  add(k, 'open', -r.settled)
  for _, b in ipairs(r.blocks) do redis.call('HSET', k.blocks, int(b[1]), int(b[2])) end
  for _, b in ipairs(r.assemble) do redis.call('ZADD', k.chores, 0, 'assemble:' .. int(b)) end
  for _, s in ipairs(r.splits) do
    if s[2] > 0 then redis.call('HSET', k.splits, int(s[1]), int(s[2])) add(k, 'open', -1) end
    redis.call('HSET', k.splits, 'n:' .. int(s[1]), int(s[3]))
  end
  for _, d in ipairs(r.dead) do
    redis.call('HSET', k.dead, int(d[1]) .. ':' .. int(d[2]), d[4])
    add(k, 'dead', 1)
    add(k, 'items_dead', d[3])
    if redis.call('HINCRBY', k.splits, 'd:' .. int(d[1]), 1) == 1 then add(k, 'chunks_failed', 1) end
  end
  for _, p in ipairs(r.pieces) do put(k, p[1], p[2], p[3], p[4], 0) end
end

local function planned(k, data, now)
  redis.call('HSET', k.job, 'phase', 'running', 'digest', data.digest, 'chunks', int(data.chunks), 'items', int(data.items),
    'blocks', int(data.blocks), 'block_height', int(data.block_height), 'tolerated', int(data.tolerated), 'plan', data.plan,
    'open', int(data.chunks), 'next', 0, 'planned', int(now))
  if data.recovered then recover(k, data.recovered) end
  if data.finished then
    redis.call('HSET', k.job, 'output_digest', data.finished.digest, 'bytes', int(data.finished.bytes))
    end_job(k, 'complete', 'Complete', '', now)
  else
    check_end(k, now)
  end
end

function APPLY.chore(k, step, lease, now)
  if lease.chore == '' then return false end
  drop(k, step.nonce)
  redis.call('HDEL', k.units, 'chore:' .. lease.chore)
  if lease.chore == 'plan' then
    planned(k, step.data, now)
  elseif lease.chore == 'finish' then
    redis.call('HSET', k.job, 'output_digest', step.data.digest, 'bytes', int(step.data.bytes))
    end_job(k, 'complete', 'Complete', '', now)
  else
    add(k, 'blocks_done', 1)
    check_end(k, now)
  end
  return true
end

-- chunks [a, b) that were settled are open again
local function reopen(k, a, b)
  add(k, 'settled', a - b)
  if get(k, 'sink') == 'queue' then return end
  local size = 2 ^ number(k, 'block_height')
  for block = math.floor(a / size), math.floor((b - 1) / size) do
    local low, high = math.max(a, block * size), math.min(b, (block + 1) * size)
    if redis.call('HEXISTS', k.blocks, int(block)) == 0 then
      if redis.call('ZREM', k.chores, 'assemble:' .. int(block)) == 0 then add(k, 'blocks_done', -1) end
      redis.call('HSET', k.blocks, int(block), int(block_chunks(k, block)))
    end
    redis.call('HINCRBY', k.blocks, int(block), int(low - high))
  end
  redis.call('ZREM', k.chores, 'finish')
end

function APPLY.chore_failed(k, step, lease, now)
  if lease.chore == '' then return false end
  drop(k, step.nonce)
  if #step.missing > 0 and lease.chore:sub(1, 9) == 'assemble:' then
    redis.call('ZADD', k.chores, 0, lease.chore) -- reopen() takes it away again
    for _, m in ipairs(step.missing) do
      reopen(k, m[1], m[2])
      give_back(k, {start = m[1], stop = m[2], low = 0, high = 0, losses = 0}, false, now)
    end
    return true
  end
  local attempts = tonumber(redis.call('HINCRBY', k.units, 'chore:' .. lease.chore, 1))
  record(k, 'chore_failed', 0, 0, 'chore', lease.chore, 'message', step.message)
  redis.call('ZADD', k.chores, int(now + 500 * 2 ^ attempts), lease.chore)
  if step.final or attempts >= CHORE_ATTEMPTS then
    redis.call('HDEL', k.units, 'chore:' .. lease.chore)
    redis.call('ZADD', k.chores, 0, lease.chore)
    end_job(k, 'failed', step.reason, step.message, now)
  end
  return true
end
