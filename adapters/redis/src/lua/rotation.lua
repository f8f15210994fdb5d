-- The order in which jobs are claimed: each client that has a due job has its turn, and within a client the
-- most urgent job is first, then the one that has been due longest.
--
-- `ready` alone says which jobs wait, and since or from when on each is claimable: by it they are counted, and
-- an earlier build claims by it. Beside it stand indexes, named after it: `later` has the jobs that aren't due
-- yet by the moment at which they are, `due:<client>` the due ones of a client in their order, and `clients`
-- the clients that have one by their turns. What an index lists counts as far as `ready` says the same. What
-- it lacks is put back by a claim that finds no client's turn, and by the sweep.

-- The scores of one priority, in steps of 8 µs since 1970: those of all ten fit into a double, exactly.
local OF_A_PRIORITY = 2 ^ 49

-- How many jobs a claim lets wait for their clients' turns, at most: two hundred take it two milliseconds.
local MOST_PROMOTED, MOST_ADOPTED = 200, 100

-- The names of the sets of a queue.
local function order_of(ready)
  local queue = string.sub(ready, 1, -1 - #'ready')
  return { ready = ready, later = queue .. 'later', clients = queue .. 'clients', due = queue .. 'due:' }
end

-- Where a job stands among its client's.
local function rank_of(priority, due)
  local number = tonumber(priority)
  if not number or number < 0 or number > 9 then
    number = 5
  end
  return (9 - number) * OF_A_PRIORITY + math.floor(due / 8)
end

-- Lets a due job wait for its client's turn. A client that had none due has its turn after all who wait.
local function await_turn(order, id, client, priority, due)
  on('zset', 'ZADD', order.due .. client, rank_of(priority, due), id)
  local last = on('zset', 'ZRANGE', order.clients, -1, -1, 'WITHSCORES')[2]
  redis.call('ZADD', order.clients, 'NX', (tonumber(last) or 0) + 1, client)
end

-- Lets a job wait from `due` on.
local function wait(order, id, client, priority, due, at)
  enlist(order.ready, due, id)
  if due > at then
    on('zset', 'ZADD', order.later, due, id)
  else
    await_turn(order, id, client, priority, due)
  end
end

-- Takes a job out if it waits. One that doesn't has no place that counts.
local function wait_no_more(order, id, client)
  if on('zset', 'ZREM', order.ready, id) == 0 then
    return
  end
  on('zset', 'ZREM', order.later, id)
  local set = order.due .. client
  if on('zset', 'ZREM', set, id) == 1 and redis.call('EXISTS', set) == 0 then
    on('zset', 'ZREM', order.clients, client)
  end
end
