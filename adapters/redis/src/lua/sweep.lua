-- One page of a search for jobs that the queue has lost, by the catalogue's list of unfinished ones: such a
-- job has an entry, and is in `leases` if that has a token, else in `ready`. What is missing is put back:
-- a held job is listed by the end of its lease again, or gets a grace in which its worker may renew it where
-- that end is lost; one that runs without a known lease gets one that has run out, and is taken back like
-- any other. Places in the indexes that only order the claims are put back, and not counted as found: an earlier
-- build notes none.
-- KEYS: ready, leases, the lists of running and of pending jobs. ARGV: entry, state and record prefixes, from,
-- limit, grace, a token.
-- Answers where the next page begins (0: at the beginning), how many jobs were found, those, and then the
-- keys that were set aside.

local ready, leases, running, pending = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local from, limit = tonumber(ARGV[4]), tonumber(ARGV[5])
local at = now()
local order, names = order_of(ready), { entry = ARGV[1], state = ARGV[2], job = ARGV[3] }
set_aside_unless(ready, 'zset')
set_aside_unless(leases, 'zset')
-- An earlier build gave them a lifetime, which would be that of all who wait or are held.
redis.call('PERSIST', ready)
redis.call('PERSIST', leases)
local first = redis.call('ZCARD', running)
local total = first + redis.call('ZCARD', pending)

local found = {}
local function look(id, runs)
  local entry, state = ARGV[1] .. id, ARGV[2] .. id
  set_aside_unless(entry, 'hash')
  set_aside_unless(state, 'hash')
  if redis.call('HGET', state, 'ended') == '1' then
    return
  end
  redis.call('PERSIST', entry)
  local lease = redis.call('HMGET', entry, 'token', 'until')
  local token = lease[1]
  local waits, held = redis.call('ZSCORE', ready, id), redis.call('ZSCORE', leases, id)
  if token and held then
    redis.call('ZREM', ready, id)
    return
  end
  if waits and not token and redis.call('EXISTS', entry) == 1 then
    redis.call('ZREM', leases, id)
    ensure_listed(order, names, id, tonumber(waits), at)
    return
  end
  if token then
    lend(entry, leases, id, lease[2] and tonumber(lease[2]) or at + tonumber(ARGV[6]))
    redis.call('ZREM', ready, id)
  elseif runs then
    lend(entry, leases, id, at, 'token', ARGV[7])
    redis.call('ZREM', ready, id)
  else
    local job = recorded(names, id)
    redis.call('HSETNX', entry, 'attempts', 0)
    redis.call('HSET', entry, 'client', job.client, 'priority', job.priority)
    redis.call('ZREM', leases, id)
    local due = waits and tonumber(waits) or math.max(at, job.run_at)
    wait(order, id, job.client, job.priority, due, at)
  end
  found[#found + 1] = id
end

if from < first then
  for _, id in ipairs(redis.call('ZRANGE', running, from, math.min(from + limit, first) - 1)) do
    look(id, true)
  end
end
if from + limit > first then
  local begin = math.max(0, from - first)
  for _, id in ipairs(redis.call('ZRANGE', pending, begin, from + limit - first - 1)) do
    look(id, false)
  end
end
local answer = { string.format('%.0f', from + limit < total and from + limit or 0), tostring(#found) }
for _, id in ipairs(found) do
  answer[#answer + 1] = id
end
for _, told in ipairs(unreported(ready)) do
  answer[#answer + 1] = told
end
return answer
