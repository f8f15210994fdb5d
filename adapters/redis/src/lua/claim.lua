-- The job that has been claimable longest, for a worker; or what the same claim was given before, when its
-- answer was lost. Takes entries out that no worker can do anything about: the job has ended, or neither
-- its log nor its record is there any more. Sets keys aside that something else has written to.
-- KEYS: ready, leases. ARGV: entry, state and record prefixes, token, worker, duration, the name of the
-- claim.
-- Answers job and attempt (both empty: none is due), then the keys that were set aside.

local ready, leases, token = KEYS[1], KEYS[2], ARGV[4]
local at = now()
local function answer(id, attempt)
  local told = unreported(ready)
  table.insert(told, 1, id)
  table.insert(told, 2, attempt)
  return told
end
local function claimed(id, entry)
  lend(entry, leases, id, at + tonumber(ARGV[6]), 'token', token, 'worker', ARGV[5])
  redis.call('SET', ARGV[7], id, 'PX', math.ceil(tonumber(ARGV[6]) / 1000))
  redis.call('PERSIST', entry)
  local attempts = tonumber(redis.call('HGET', entry, 'attempts')) or 0
  return answer(id, string.format('%.0f', attempts + 1))
end

set_aside_unless(ready, 'zset')
set_aside_unless(leases, 'zset')
local before = redis.call('GET', ARGV[7])
if before then
  set_aside_unless(ARGV[1] .. before, 'hash')
  if holds(ARGV[1] .. before, leases, before, token, at) then
    return claimed(before, ARGV[1] .. before)
  end
end
-- An earlier build gave it a lifetime, which would be that of all who wait.
redis.call('PERSIST', ready)
for _ = 1, 100 do
  local id = redis.call('ZRANGEBYSCORE', ready, '-inf', at, 'LIMIT', 0, 1)[1]
  if not id then
    return answer('', '')
  end
  local entry = ARGV[1] .. id
  if is_id(id) then
    set_aside_unless(entry, 'hash')
    set_aside_unless(ARGV[2] .. id, 'hash')
    local state = redis.call('HMGET', ARGV[2] .. id, 'epoch', 'ended')
    local alive = state[1] or redis.call('EXISTS', ARGV[3] .. id) == 1
    redis.call('ZREM', ready, id)
    if alive and state[2] ~= '1' then
      return claimed(id, entry)
    end
  else
    redis.call('ZREM', ready, id)
  end
  redis.call('DEL', entry)
end
return answer('', '')
