-- chores.lua: what follows when a chore is done or has failed. Extends the steps of report.lua.
--
-- data of the chore `plan`:
--   {digest, chunks, items (results: -1: unknown), blocks, block_height, tolerated, tolerates (nil or "chunks"),
--    plan (the plan's JSON), chunk_items and last_chunk_items (of the last chunk; nil or 0: only reading tells),
--    finished = nil or {digest, items, bytes},          the output is complete already
--    recovered = nil or {pieces = [[start, stop]...]   what is still to do,
--                        settled, items, blocks_done, blocks = [[block, chunks settled]...], assemble = [block...],
--                        splits = [[chunk, items]...]   of dead items, dead = [[chunk, item, items, letter]...]}}
-- data of `assemble:BLOCK` and `clean`: {}; data of `finish`: {digest, items, bytes}
-- chore_failed: `missing` = [[start, stop]...], in order, are chunks of the block counted as done whose parts are not in
-- the output: they are opened again, whole, and their dead letters are void. Of `finish` they are blocks that were
-- assembled and are gone: they are assembled again, which tells what of them is missing. Otherwise the chore is tried
-- again, 5 times in all, then the job fails with `reason`; where the chore is `clean`, it is removed with the reason
-- RemovalIncomplete, and the message says what may be left.
-- A chore may be held twice, where a failed job was tried again: the first that is done counts, the other is refused.

local CHORE_ATTEMPTS = 5

local text = is('string')
local PLAN = {digest = text, chunks = is_count, items = is_item, blocks = is_count, block_height = is_count, tolerated = is_count, plan = text}
local FINISHED = {digest = text, items = is_count, bytes = is_count}
local DEAD, PAIR = {is_count, is_item, is_count, text}, {is_count, is_count}

local function rows(form)
  return function(list)
    if type(list) ~= 'table' then return false end
    for _, row in ipairs(list) do
      if not has_form(row, form) then return false end
    end
    return true
  end
end

local RECOVERED = {pieces = rows(PAIR), settled = is_count, items = is_count, blocks_done = is_count, blocks = rows(PAIR),
                   assemble = function(list) return type(list) == 'table' end, splits = rows(PAIR), dead = rows(DEAD)}

local function plan_fault(k, data)
  if not (is_count(data.chunk_items or 0) and is_count(data.last_chunk_items or 0)) then return 'the items of a chunk are no numbers' end
  if not has_form(data, PLAN) or data.block_height > 53 then return 'the plan is not of its form' end
  if get(k, 'sink') ~= 'queue' and data.blocks ~= math.ceil(data.chunks / 2 ^ data.block_height) then return 'the blocks are not those of the chunks' end
  if data.finished and not has_form(data.finished, FINISHED) then return 'what is finished is not of its form' end
  local r = data.recovered
  if not r then return nil end
  if not has_form(r, RECOVERED) then return 'what was recovered is not of its form' end
  for _, block in ipairs(r.assemble) do
    if not is_count(block) then return 'a block to assemble is no number' end
  end
  local left = 0
  for _, p in ipairs(r.pieces) do left = left + p[2] - p[1] end
  if left + r.settled ~= data.chunks then return 'what was recovered does not add up' end
end

-- called before anything is written: nil, or what is wrong with the step
function chore_fault(k, step, chore)
  if step.what == 'chore' then
    if chore == 'plan' then return plan_fault(k, step.data) end
    if chore == 'finish' and not has_form(step.data, FINISHED) then return 'what is finished is not of its form' end
    return nil
  end
  if not rows(PAIR)(step.missing) then return 'missing is not of its form' end
  local size, position = block_size(k), 0
  if chore == 'finish' then
    for _, m in ipairs(step.missing) do
      if m[1] < position or m[1] % size > 0 or m[2] ~= math.min(m[1] + size, number(k, 'chunks')) or m[2] <= m[1] then
        return 'missing blocks are no blocks, or not in order'
      end
      position = m[2]
    end
  end
  local block = tonumber(chore:match('^assemble:(%d+)$'))
  if #step.missing == 0 or not block then return nil end
  position = block * size
  local stop = position + block_chunks(k, block)
  for _, m in ipairs(step.missing) do
    if m[1] < position or m[2] <= m[1] or m[2] > stop then return 'missing chunks are of another block, or not in order' end
    position = m[2]
  end
end

local function recover(k, r)
  set(k, 'next', number(k, 'chunks'))
  set(k, 'settled', r.settled)
  set(k, 'items_done', r.items)
  set(k, 'blocks_done', r.blocks_done)
  add(k, 'open', -r.settled)
  for _, b in ipairs(r.blocks) do redis.call('HSET', k.blocks, int(b[1]), int(b[2])) end
  for _, b in ipairs(r.assemble) do redis.call('ZADD', k.chores, 0, 'assemble:' .. int(b)) end
  for _, s in ipairs(r.splits) do redis.call('HSET', k.splits, 'n:' .. int(s[1]), int(s[2])) end
  for _, d in ipairs(r.dead) do
    redis.call('HSET', k.dead, int(d[1]) .. ':' .. int(d[2]), int(d[3]) .. ' ' .. (number(k, 'dead') < number(k, 'keep') and d[4] or ''))
    add(k, 'dead', 1)
    add(k, 'items_dead', d[3])
    if redis.call('HINCRBY', k.splits, 'd:' .. int(d[1]), 1) == 1 then add(k, 'chunks_failed', 1) end
  end
  for _, p in ipairs(r.pieces) do
    decompose(p[1], p[2], function(a, b) put(k, a, b, 0, 0, 0) end)
  end
end

local function complete(k, output, now)
  set(k, 'items_done', output.items)
  redis.call('HSET', k.job, 'output_digest', output.digest, 'bytes', int(output.bytes))
  end_job(k, 'complete', 'Complete', '', now)
end

local function planned(k, data, now)
  for _, field in ipairs({'digest', 'chunks', 'blocks', 'block_height', 'tolerated'}) do set(k, field, data[field]) end
  redis.call('HSET', k.job, 'items', int(data.items), 'plan', data.plan, 'planned', int(now))
  set(k, 'chunk_items', data.chunk_items or 0)
  set(k, 'last_chunk_items', data.last_chunk_items or 0)
  set(k, 'tolerates', data.tolerates == 'chunks' and 'chunks' or 'items')
  set(k, 'phase', 'running')
  set(k, 'open', data.chunks)
  set(k, 'next', 0)
  redis.call('ZREM', k.chores, 'plan')
  if data.recovered then recover(k, data.recovered) end
  if data.finished then
    set(k, 'next', data.chunks)
    set(k, 'open', 0)
    set(k, 'settled', data.chunks)
    set(k, 'blocks_done', data.blocks)
    complete(k, data.finished, now)
  else
    check_tolerated(k, now)
    check_end(k, now)
  end
end

function APPLY.chore(k, step, lease, now)
  if lease.chore == '' then return false end
  drop(k, step.nonce)
  redis.call('HDEL', k.units, 'chore:' .. lease.chore, 'lost:' .. lease.chore)
  if lease.chore == 'plan' then
    if get(k, 'phase') ~= 'planning' then return false end
    planned(k, step.data, now)
  elseif lease.chore == 'clean' then
    set(k, 'phase', 'removed')
  elseif lease.chore == 'finish' then
    if get(k, 'phase') ~= 'running' then return false end
    complete(k, step.data, now)
  else
    add(k, 'blocks_done', 1)
    check_end(k, now)
  end
  return true
end

-- whether one of the intervals, which are in order, holds the chunk
local function holds(intervals, chunk)
  local low, high = 1, #intervals
  while low < high do
    local middle = math.ceil((low + high) / 2)
    if intervals[middle][1] <= chunk then low = middle else high = middle - 1 end
  end
  return intervals[low][1] <= chunk and chunk < intervals[low][2]
end

-- chunks that run again as a whole are as if they had never failed
local function forget_failures(k, missing)
  for _, name in ipairs(redis.call('HKEYS', k.dead)) do
    if holds(missing, tonumber(name:match('^%d+'))) then
      add(k, 'dead', -1)
      add(k, 'items_dead', -tonumber(redis.call('HGET', k.dead, name):match('^%d+')))
      redis.call('HDEL', k.dead, name)
    end
  end
  for _, name in ipairs(redis.call('HKEYS', k.splits)) do
    if holds(missing, tonumber(name:match('%d+$'))) then
      if name:sub(1, 2) == 'd:' then add(k, 'chunks_failed', -1) end
      redis.call('HDEL', k.splits, name)
    end
  end
end

function APPLY.chore_failed(k, step, lease, now)
  if lease.chore == '' then return false end
  drop(k, step.nonce)
  if #step.missing > 0 and lease.chore:sub(1, 9) == 'assemble:' then
    redis.call('ZADD', k.chores, 0, lease.chore) -- reopen() takes it away again
    forget_failures(k, step.missing)
    for _, m in ipairs(step.missing) do
      record(k, 'missing', m[1], m[2])
      reopen(k, m[1], m[2], {})
      give_back(k, {start = m[1], stop = m[2], low = 0, high = 0, losses = 0}, false, now)
    end
    return true
  end
  if #step.missing > 0 and lease.chore == 'finish' then
    for _, m in ipairs(step.missing) do
      record(k, 'missing', m[1], m[2])
      add(k, 'blocks_done', -1)
      redis.call('ZADD', k.chores, 0, 'assemble:' .. int(m[1] / block_size(k)))
    end
    return true -- when they are assembled, check_end() makes the chore again
  end
  local attempts = redis.call('HINCRBY', k.units, 'chore:' .. lease.chore, 1)
  local ended = step.final or attempts >= CHORE_ATTEMPTS
  record(k, 'chore_failed', 0, 0, 'chore', lease.chore, 'message', step.message:sub(1, 4000))
  redis.call('ZADD', k.chores, ended and 0 or int(now + 500 * 2 ^ attempts), lease.chore)
  if ended then give_up_chore(k, lease.chore, step.reason, step.message, now) end
  return true
end
