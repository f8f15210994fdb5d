-- A lease for another while, if it is still the caller's and runs.
-- KEYS: entry, leases. ARGV: job, token, duration. Answers 1 or 0.

local at = now()
local token = redis.call('HGET', KEYS[1], 'token')
local ends = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]))
if token ~= ARGV[2] or not ends or ends <= at then
  return 0
end
-- First a write that Redis takes when it is out of memory: it then lets the ZADD through, which
-- only changes a number. A full Redis costs no worker its lease.
redis.call('PERSIST', KEYS[1])
enlist(KEYS[2], at + tonumber(ARGV[3]), ARGV[1])
return 1
