-- ledger.lua: what is counted, once. Every chunk goes from open (pending, delayed or not yet reached) to leased to
-- settled (done or dead); `open` and `settled` in the job hash count chunks, and a chunk that was split counts as
-- settled when its last item is. Settling the last chunk of a block makes the chore that assembles it.

local function end_job(k, phase, reason, message, now)
  redis.call('HSET', k.job, 'phase', phase, 'reason', reason, 'message', message, 'finished', int(now))
end

local function block_chunks(k, block)
  local size = 2 ^ number(k, 'block_height')
  return math.min(size, number(k, 'chunks') - block * size)
end

-- when all is settled (and all blocks are there), what is left is to finish
local function check_end(k, now)
  if get(k, 'phase') ~= 'running' or number(k, 'settled') < number(k, 'chunks') then return end
  if get(k, 'sink') == 'queue' then
    end_job(k, 'complete', 'Complete', '', now)
  elseif number(k, 'blocks_done') >= number(k, 'blocks') then
    redis.call('ZADD', k.chores, 0, 'finish')
  end
end

-- chunks [a, b) are settled; `direct`: their blocks are already assembled
local function settle(k, a, b, direct, now)
  add(k, 'settled', b - a)
  if get(k, 'sink') ~= 'queue' then
    local size = 2 ^ number(k, 'block_height')
    local first, last = math.floor(a / size), math.floor((b - 1) / size)
    if direct then
      add(k, 'blocks_done', last - first + 1)
    else
      for block = first, last do
        local n = math.min(b, (block + 1) * size) - math.max(a, block * size)
        if tonumber(redis.call('HINCRBY', k.blocks, int(block), int(n))) >= block_chunks(k, block) then
          redis.call('HDEL', k.blocks, int(block))
          redis.call('ZADD', k.chores, 0, 'assemble:' .. int(block))
        end
      end
    end
  end
  check_end(k, now)
end

-- `n` items of the split chunk are settled
local function settle_items(k, chunk, n, now)
  if tonumber(redis.call('HINCRBY', k.splits, int(chunk), int(-n))) <= 0 then
    redis.call('HDEL', k.splits, int(chunk))
    settle(k, chunk, chunk + 1, false, now)
  end
end

-- keeps a place in the order of collection, with or without a payload
local function keep(k, start, stop, low, high, payload)
  local member = table.concat({int(start), int(stop), int(low), int(high)}, ':')
  redis.call('ZADD', k.ready, int(start), member)
  if payload then
    redis.call('HSET', k.results, member, payload)
    add(k, 'stored', #payload)
  end
end

-- gives up an item of a chunk, or the whole unit (item -1); the letter is JSON with the fields of planning's DeadLetter
local function bury(k, u, item, letter, items, now)
  local name = int(u.start) .. ':' .. int(item)
  redis.call('HSET', k.dead, name, number(k, 'dead') < number(k, 'keep') and letter or '')
  local dead = add(k, 'dead', 1)
  add(k, 'items_dead', items)
  record(k, 'dead', u.start, u.stop, 'item', int(item))
  if redis.call('HINCRBY', k.splits, 'd:' .. int(u.start), 1) == 1 then add(k, 'chunks_failed', 1) end
  if get(k, 'sink') == 'queue' then
    if item >= 0 then keep(k, u.start, u.start + 1, item, item + 1) else keep(k, u.start, u.start + 1, u.low, u.high) end
  end
  if u.high > u.low then
    settle_items(k, u.start, item >= 0 and 1 or u.high - u.low, now)
  elseif redis.call('HEXISTS', k.splits, int(u.start)) == 1 then
    settle_items(k, u.start, 1, now)
  else
    settle(k, u.start, u.start + 1, false, now)
  end
  if dead > number(k, 'tolerated') and get(k, 'phase') == 'running' then
    end_job(k, 'failed', 'TooManyFailures',
      int(dead) .. ' dead letters, and failures.tolerated allows ' .. int(number(k, 'tolerated')), now)
  end
end

-- gives a unit back to be leased again. `lost`: its holder went away without a word, so nobody knows what it died of:
-- the next holder is careful, from the second loss on the unit is halved, and a single one lost too often is dead.
local function give_back(k, u, lost, now)
  local losses = u.losses + (lost and 1 or 0)
  local fragment = u.high > u.low
  local size = fragment and u.high - u.low or u.stop - u.start
  if size <= 0 then return end
  if not fragment then add(k, 'open', size) end
  if lost and size == 1 and losses > number(k, 'infrastructure') then
    if not fragment then add(k, 'open', -1) end
    bury(k, u, fragment and u.low or -1, cjson.encode({
      chunk = u.start, item = fragment and u.low or -1, items = 1, kind = 'lost', attempts = losses, worker = u.worker or '',
      error = 'the worker that ran it was lost ' .. int(losses) .. ' times', traceback = '', input = '', at = now / 1000}), 1, now)
    return
  end
  local function back(a, b)
    if fragment then put(k, u.start, u.stop, a, b, losses) else put(k, a, b, 0, 0, losses) end
  end
  decompose(fragment and u.low or u.start, fragment and u.high or u.stop, function(a, b)
    if lost and losses >= 2 and b - a > 1 then
      back(a, middle(a, b))
      back(middle(a, b), b)
    else
      back(a, b)
    end
  end)
end
