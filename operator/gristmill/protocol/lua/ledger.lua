-- ledger.lua: what is counted, once. Every chunk goes from open (pending, delayed or not yet reached) to leased to
-- settled (done or dead); `open` and `settled` in the job hash count chunks, and a chunk that was split counts as
-- settled when its last item is. Settling the last chunk of a block makes the chore that assembles it.

local function is_active(k) return get(k, 'phase') == 'running' or get(k, 'phase') == 'planning' end

local function end_job(k, phase, reason, message, now)
  set(k, 'phase', phase)
  redis.call('HSET', k.job, 'reason', reason, 'message', message:sub(1, 4000), 'finished', int(now))
end

local function drop(k, nonce)
  redis.call('HDEL', k.leases, nonce)
  redis.call('ZREM', k.deadlines, 'l' .. nonce)
end

local function block_size(k) return 2 ^ number(k, 'block_height') end

local function block_chunks(k, block) return math.min(block_size(k), number(k, 'chunks') - block * block_size(k)) end

-- when all is settled (and all blocks are there), what is left is to finish
local function check_end(k, now)
  if get(k, 'phase') ~= 'running' or number(k, 'settled') < number(k, 'chunks') then return end
  if get(k, 'sink') == 'queue' then
    end_job(k, 'complete', 'Complete', '', now)
  elseif number(k, 'blocks_done') >= number(k, 'blocks') then
    redis.call('ZADD', k.chores, 0, 'finish')
  end
end

local function covers_blocks(k, a, b)
  local size = block_size(k)
  return a % size == 0 and (b % size == 0 or b == number(k, 'chunks'))
end

-- chunks [a, b) are settled; `direct`: they are whole blocks, which are already assembled
local function settle(k, a, b, direct, now)
  add(k, 'settled', b - a)
  if get(k, 'sink') ~= 'queue' then
    local size = block_size(k)
    local first, last = math.floor(a / size), math.floor((b - 1) / size)
    if direct then
      add(k, 'blocks_done', last - first + 1)
    else
      for block = first, last do
        local n = math.min(b, (block + 1) * size) - math.max(a, block * size)
        local whole = block_chunks(k, block)
        if n == whole or redis.call('HINCRBY', k.blocks, int(block), int(n)) >= whole then
          if n < whole then redis.call('HDEL', k.blocks, int(block)) end
          redis.call('ZADD', k.chores, 0, 'assemble:' .. int(block))
        end
      end
    end
  end
  check_end(k, now)
end

-- `n` items of the split chunk are settled
local function settle_items(k, chunk, n, now)
  if redis.call('HINCRBY', k.splits, int(chunk), int(-n)) <= 0 then
    redis.call('HDEL', k.splits, int(chunk))
    settle(k, chunk, chunk + 1, false, now)
  end
end

-- keeps a place in the order of collection, with or without a payload
local function keep(k, start, stop, low, high, items, payload)
  local member = table.concat({int(start), int(stop), int(low), int(high), int(items)}, ':')
  redis.call('ZADD', k.ready, int(start), member)
  if payload then
    redis.call('HSET', k.results, member, payload)
    add(k, 'stored', #payload)
  end
end

-- takes results back: they have arrived, or they are not wanted any more
local function unkeep(k, member)
  local size = redis.call('HSTRLEN', k.results, member)
  redis.call('HDEL', k.results, member)
  redis.call('ZREM', k.ready, member)
  add(k, 'stored', -size)
end

-- ends the job when more has failed than may: items, or chunks where the number of items is not known and a share was given
local function check_tolerated(k, now)
  local unit = get(k, 'tolerates') == 'chunks' and 'chunks' or 'items'
  local failed, allowed = number(k, unit == 'chunks' and 'chunks_failed' or 'items_dead'), number(k, 'tolerated')
  if failed > allowed then
    end_job(k, 'failed', 'TooManyFailures', int(failed) .. ' ' .. unit .. ' failed, and failures.tolerated allows ' .. int(allowed), now)
  end
end

-- gives up a chunk (item -1, or 0 where it has that one only), or the fragment of one item; the letter is JSON with the
-- fields of planning's DeadLetter
local function bury(k, u, item, letter, items, now)
  if number(k, 'dead') >= number(k, 'keep') or #letter > 65536 then letter = '' end
  redis.call('HSET', k.dead, int(u.start) .. ':' .. int(item), int(items) .. ' ' .. letter)
  add(k, 'dead', 1)
  add(k, 'items_dead', items)
  record(k, 'dead', u.start, u.stop, 'item', int(item))
  if redis.call('HINCRBY', k.splits, 'd:' .. int(u.start), 1) == 1 then add(k, 'chunks_failed', 1) end
  if get(k, 'sink') == 'queue' then keep(k, u.start, u.start + 1, math.max(item, 0), item + 1, 0) end
  if get(k, 'phase') == 'running' then check_tolerated(k, now) end -- before the last one completes the job
  if u.high > u.low then settle_items(k, u.start, 1, now) else settle(k, u.start, u.start + 1, false, now) end
end

-- what is charged to a part, of `size`, of what `losses` are charged to: a chunk or item that comes out of more is alone with
-- one, for the others may be what its holders died of
local function losses_of(size, of, losses)
  if size == 1 and of > 1 then return math.min(losses, 1) end
  return losses
end

-- calls f(a, b) for the aligned intervals that tile [low, high), for both halves of one of which `halves(a, b)` holds
local function in_halves(low, high, halves, f)
  decompose(low, high, function(a, b)
    if b - a > 1 and halves(a, b) then
      f(a, middle(a, b))
      f(middle(a, b), b)
    else
      f(a, b)
    end
  end)
end

-- items [low, high) of a chunk are to be leased by themselves: in halves where they are aligned, as they are cut otherwise
local function put_halves(k, u, low, high)
  local function is_all(a, b) return a == low and b == high end
  in_halves(low, high, is_all, function(a, b) put(k, u.start, u.stop, a, b, losses_of(b - a, high - low, u.losses)) end)
end

-- a chunk of `items` is split: its items are settled one by one from now on
local function split_chunk(k, u, items)
  redis.call('HSET', k.splits, int(u.start), int(items), 'n:' .. int(u.start), int(items))
end

-- the number of items of a chunk as the plan knows it, at least 1
local function planned_items(k, chunk)
  local last = chunk == number(k, 'chunks') - 1
  return math.max(1, number(k, last and 'last_chunk_items' or 'chunk_items'))
end

-- a chunk, or an item of one, whose holders were lost too often, one after the other: it is given up, or isolated where it
-- is a chunk of which the plan knows that it has more items
local function give_up_lost(k, u, losses, now)
  local fragment = u.high > u.low
  local items = fragment and 1 or planned_items(k, u.start)
  redis.call('HDEL', k.units, unit_name(u))
  if items > 1 and get(k, 'isolate') == '1' then
    split_chunk(k, u, items)
    put_halves(k, {start = u.start, stop = u.start + 1, losses = 1}, 0, items)
    return
  end
  bury(k, u, fragment and u.low or -1, cjson.encode({
    kind = 'lost', attempts = losses, worker = u.worker, error = 'the worker that ran it was lost ' .. int(losses) .. ' times',
    traceback = '', input = '', at = now / 1000}), items, now)
end

-- gives a unit back to be leased again. `lost`: its holder went away without a word, so nobody knows what it died of:
-- the next holder is careful, from the second loss on the unit is halved, and a single one lost too often is given up.
local function give_back(k, u, lost, now)
  local losses = u.losses + (lost and 1 or 0)
  local fragment = u.high > u.low
  local low, high = u.start, u.stop
  if fragment then low, high = u.low, u.high end
  if high <= low then return end
  if lost and high - low == 1 and losses > number(k, 'infrastructure') then
    return give_up_lost(k, u, losses, now)
  end
  if not fragment then add(k, 'open', high - low) end
  local function back(a, b)
    local n = losses_of(b - a, high - low, losses)
    if fragment then put(k, u.start, u.stop, a, b, n) else put(k, a, b, 0, 0, n) end
  end
  local halved = lost and losses >= 2
  if halved and high - low > 1 then redis.call('HDEL', k.units, unit_name(u)) end
  in_halves(low, high, function() return halved end, back)
end

-- a chore could not be done, as often as it was tried: the job has failed, or is removed with what is staged left where it is
local function give_up_chore(k, chore, reason, message, now)
  redis.call('HDEL', k.units, 'chore:' .. chore, 'lost:' .. chore)
  if chore == 'clean' then
    redis.call('ZREM', k.chores, chore)
    end_job(k, 'removed', 'RemovalIncomplete', 'what was staged in the output may be left there: ' .. message, now)
  elseif is_active(k) then
    end_job(k, 'failed', reason, message, now)
  end
end

-- gives a chore back; where its holders are lost too often, it is the chore that kills them
local function return_chore(k, chore, lost, now)
  redis.call('ZADD', k.chores, 0, chore)
  if not lost then return end
  local losses = redis.call('HINCRBY', k.units, 'lost:' .. chore, 1)
  if losses > number(k, 'infrastructure') then
    give_up_chore(k, chore, 'WorkerLost', int(losses) .. ' workers were lost in a row while they ran ' .. chore, now)
  end
end

local function give_back_lease(k, lease, lost, now)
  if lease.chore ~= '' then return_chore(k, lease.chore, lost, now) else give_back(k, lease, lost, now) end
end

-- chore -> nonce of the lease that holds it
local function chores_held(k)
  local held, all = {}, redis.call('HGETALL', k.leases)
  for i = 1, #all, 2 do
    local chore = cmsgpack.unpack(all[i + 1]).chore
    if chore ~= '' then held[chore] = all[i] end
  end
  return held
end

-- chunks [a, b) of one block that were settled are open again; whoever assembles that block, or finishes, stops
local function reopen(k, a, b, held)
  add(k, 'settled', a - b)
  if get(k, 'sink') == 'queue' then return end
  local block = math.floor(a / block_size(k))
  local assemble = 'assemble:' .. int(block)
  if redis.call('HEXISTS', k.blocks, int(block)) == 0 then
    local waits = redis.call('ZREM', k.chores, assemble) == 1
    if held[assemble] then drop(k, held[assemble]) elseif not waits then add(k, 'blocks_done', -1) end
    redis.call('HSET', k.blocks, int(block), int(block_chunks(k, block)))
  end
  if redis.call('HINCRBY', k.blocks, int(block), int(a - b)) <= 0 then redis.call('HDEL', k.blocks, int(block)) end
  redis.call('ZREM', k.chores, 'finish')
  if held.finish then drop(k, held.finish) end
end
