-- inspect.lua: what people and the runner want to see; changes nothing.
--
-- FCALL_RO gristmill_status 15 KEYS  ['brief']
--   returns msgpack {job = {field = value...} without spec and plan, workers = {worker = info JSON}, alive = workers that there
--   are, leased = chunks in flight, pending, delayed = units waiting, chores = those that wait and those that are held, ready =
--   units and chunks that could be leased now, due = when the first retry is due (ms; nil where none waits), now (ms)}
--   A job's user can write what it likes to the job's keys, and who looks at all jobs must not die of one: message and output
--   have at most 16 KiB, other fields 1 KiB (what is longer is cut), a worker's name 253 bytes (a longer one is not told), its
--   info 64 KiB, and the infos of all 4 MiB (what is longer, or too much, is told as {}); of more than 10,000 workers, which a
--   job can't have, 10,000 are told; in brief, for who looks at all jobs, none is.

local FIELD, TEXT, NAME, INFO, INFOS, WORKERS = 1024, 16384, 253, 65536, 4194304, 10000
local LONG = {message = true, output = true}

local SHOWN = {'phase', 'reason', 'message', 'epoch', 'suspended', 'chunks', 'items', 'settled', 'items_done', 'items_dead', 'dead',
               'chunks_failed', 'retried', 'refused', 'expired', 'blocks', 'blocks_done', 'open', 'stored', 'cursor', 'slots',
               'digest', 'output_digest', 'bytes', 'created', 'planned', 'first_commit', 'finished', 'tolerated', 'name', 'sink',
               'spec_digest', 'output', 'generation'}

-- what a worker that asked now could have
local function leasable(k, now)
  if get(k, 'phase') == 'removing' then return redis.call('ZCOUNT', k.chores, '-inf', int(now)) end
  if not is_active(k) or get(k, 'suspended') == '1' then return 0 end
  local ready = redis.call('ZCOUNT', k.chores, '-inf', int(now))
  if get(k, 'phase') ~= 'running' then return ready end
  local first = redis.call('ZRANGE', k.pending, 0, 0)[1]
  if first and admitted(k, unit_of(first).start) then ready = ready + redis.call('ZCARD', k.pending) end
  local frontier = number(k, 'chunks') - number(k, 'next')
  if not first and frontier > 0 and admitted(k, number(k, 'next')) then ready = ready + frontier end
  return ready
end

local function workers_of(k)
  local workers, room = {}, INFOS
  for _, name in ipairs(redis.call('HRANDFIELD', k.workers, WORKERS)) do
    if #name <= NAME then
      local size = redis.call('HSTRLEN', k.workers, name)
      local fits = size <= INFO and size <= room
      if fits then room = room - size end
      workers[name] = fits and redis.call('HGET', k.workers, name) or '{}'
    end
  end
  return workers
end

define('status', function(k, args)
  local now = now_ms()
  local job = {}
  local values = redis.call('HMGET', k.job, unpack(SHOWN))
  for i, field in ipairs(SHOWN) do if values[i] then job[field] = values[i]:sub(1, LONG[field] and TEXT or FIELD) end end
  local leased, chores, all = 0, redis.call('ZCARD', k.chores), redis.call('HVALS', k.leases)
  for i = 1, #all do
    local lease = cmsgpack.unpack(all[i])
    if lease.chore == '' then leased = leased + lease.stop - lease.start else chores = chores + 1 end
  end
  return cmsgpack.pack({job = job, workers = args[1] == 'brief' and {} or workers_of(k), alive = redis.call('HLEN', k.workers),
                        leased = leased, pending = redis.call('ZCARD', k.pending), delayed = redis.call('ZCARD', k.delayed),
                        chores = chores, ready = leasable(k, now),
                        due = tonumber(redis.call('ZRANGE', k.delayed, 0, 0, 'WITHSCORES')[2]), now = now})
end, 'no-writes')
