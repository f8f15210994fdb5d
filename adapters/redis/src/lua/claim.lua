-- The job that has been claimable longest, for a worker. Takes entries out that no worker can do
-- anything about: the job has ended, or neither its log nor its record is there any more.
-- KEYS: ready, leases. ARGV: entry, state and record prefixes, token, worker, duration.
-- Answers nothing, or job and attempt.

local ready, leases = KEYS[1], KEYS[2]
local at = now()
expect(leases, 'zset')
-- An earlier build gave it a lifetime, which would be that of all who wait.
redis.call('PERSIST', ready)
for _ = 1, 100 do
  local id = redis.call('ZRANGEBYSCORE', ready, '-inf', at, 'LIMIT', 0, 1)[1]
  if not id then
    return false
  end
  local entry = ARGV[1] .. id
  local state = redis.call('HMGET', ARGV[2] .. id, 'epoch', 'ended')
  local alive = state[1] or redis.call('EXISTS', ARGV[3] .. id) == 1
  expect(entry, 'hash')
  redis.call('ZREM', ready, id)
  if alive and state[2] ~= '1' then
    redis.call('HSET', entry, 'token', ARGV[4], 'worker', ARGV[5])
    enlist(leases, at + tonumber(ARGV[6]), id)
    redis.call('PERSIST', entry)
    local attempts = tonumber(redis.call('HGET', entry, 'attempts')) or 0
    return { id, attempts + 1 }
  end
  redis.call('DEL', entry)
end
return false
