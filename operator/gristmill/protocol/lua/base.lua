-- base.lua: the keys of a job, its fields, numbers, and dyadic intervals.
--
-- KEYS of every function, in this order (all with the job's hash tag):
--   1 job       hash    the job's parameters, phase and counters
--   2 pending   zset    units that may be leased now; score: first chunk; member: start:stop:low:high:losses
--   3 delayed   zset    units that wait for a retry; score: ready at (ms); member as in pending
--   4 leases    hash    nonce -> msgpack lease
--   5 deadlines zset    "l" and a nonce, or "w" and a worker -> the time (ms) at which it is given up
--   6 units     hash    unit -> attempts charged so far; only units that have failed and are not settled.
--                       "chore:" and a chore -> its failures; "lost:" and a chore -> holders lost
--   7 dead      hash    "chunk:item" (item -1: the whole chunk) -> number of items, a space, and the dead letter as
--                       JSON; beyond the bound nothing after the space
--   8 splits    hash    chunk -> items not yet settled; "n:" and a chunk -> its number of items; "d:" and a chunk -> dead letters
--   9 blocks    hash    final block -> chunks settled; only blocks that are open
--  10 chores    zset    plan, assemble:BLOCK, finish, clean; score: ready at (ms)
--  11 workers   hash    worker -> what it said of itself last, JSON
--  12 replies   hash    worker -> msgpack [sequence, reply] of its last call
--  13 ready     zset    results kept for collection; score: first chunk; member: start:stop:low:high:items
--  14 results   hash    member of ready -> payload
--  15 history   stream  leases, refusals, failures; about the last 20,000
-- Memory grows with leases in flight, failures and uncollected results; never with the number of chunks.
--
-- A unit is [start, stop) of chunks (low = high = 0), or items [low, high) of the one chunk `start`.
-- Its losses are the holders that it lost. Those of an interval say only how often to halve it: a single chunk or item
-- that is cut from it, in whatever way, begins with one, if there were any.
--
-- A function reads a field of the job once, and writes those that changed once, when it ends. All that
-- could fail (form of the arguments, no such job) is looked at before the first write.

local NAMES = {'job', 'pending', 'delayed', 'leases', 'deadlines', 'units', 'dead', 'splits', 'blocks', 'chores',
               'workers', 'replies', 'ready', 'results', 'history'}
-- what nearly every call needs of the job; other fields are read when they are asked for
local FIELDS = {'phase', 'epoch', 'suspended', 'sink', 'chunks', 'settled', 'open', 'next', 'blocks', 'blocks_done', 'block_height',
                'items_done', 'stored', 'cursor', 'window', 'slots', 'lease_ms', 'first_commit'}
local HISTORY = 20000
local EXACT = 2 ^ 53 -- whole numbers up to here are exact
local NOJOB = {err = 'NOJOB the queue holds no such job'}

local function bad(what) return {err = 'BADREQUEST ' .. what} end

local function int(x) return string.format('%.0f', x) end
local function is_count(x) return type(x) == 'number' and x >= 0 and x <= EXACT and math.floor(x) == x end
local function is_item(x) return x == -1 or is_count(x) end

local function get(k, field)
  local value = k.fields[field]
  if value == nil then
    value = redis.call('HGET', k.job, field)
    k.fields[field] = value
  end
  return value
end

local function number(k, field) return tonumber(get(k, field) or 0) end

local function set(k, field, value)
  k.fields[field] = value
  k.changed[field] = true
end

local function add(k, field, n)
  local value = number(k, field) + n
  set(k, field, value)
  return value
end

local function load_job(keys)
  local k = {fields = {}, changed = {}}
  for i, name in ipairs(NAMES) do k[name] = keys[i] end
  local values = redis.call('HMGET', k.job, unpack(FIELDS))
  for i, field in ipairs(FIELDS) do k.fields[field] = values[i] end
  return k
end

local function store_job(k)
  local words = {}
  for field in pairs(k.changed) do
    local value = k.fields[field]
    words[#words + 1] = field
    words[#words + 1] = type(value) == 'number' and int(value) or value
  end
  if #words > 0 then redis.call('HSET', k.job, unpack(words)) end
end

-- registers gristmill_NAME, which answers with body(k, args) for a job that is there
local function define(name, body, ...)
  redis.register_function{function_name = 'gristmill_' .. name, flags = {...}, callback = function(keys, args)
    if #keys ~= #NAMES then return bad('a function takes the keys that base.lua lists') end
    local k = load_job(keys)
    if not get(k, 'phase') then return NOJOB end
    local answer = body(k, args)
    store_job(k)
    return answer
  end}
end

local function record(k, what, start, stop, ...)
  redis.call('XADD', k.history, 'MAXLEN', '~', HISTORY, '*', 'what', what, 'start', int(start), 'stop', int(stop), ...)
end

-- calls f(a, b) for the fewest aligned intervals that tile [start, stop), in order
local function decompose(start, stop, f)
  while start < stop do
    local size = 1
    while start % (size * 2) == 0 and start + size * 2 <= stop do size = size * 2 end
    f(start, start + size)
    start = start + size
  end
end

-- where an interval of two or more is halved: at the middle of the aligned interval that it begins
local function middle(start, stop)
  local size = 1
  while size < stop - start do size = size * 2 end
  return start + size / 2
end

local function unit_of(member)
  local start, stop, low, high, losses = member:match('^(%d+):(%d+):(%d+):(%d+):(%d+)$')
  return {start = tonumber(start), stop = tonumber(stop), low = tonumber(low), high = tonumber(high), losses = tonumber(losses)}
end

local function put(k, start, stop, low, high, losses, at)
  local member = table.concat({int(start), int(stop), int(low), int(high), int(losses)}, ':')
  if at then redis.call('ZADD', k.delayed, int(at), member) else redis.call('ZADD', k.pending, int(start), member) end
end

local function unit_name(u)
  if u.high > u.low then return table.concat({int(u.start), int(u.low), int(u.high)}, ':') end
  return int(u.start)
end
