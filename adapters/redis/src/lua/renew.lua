-- A lease for another while, if it is still the caller's and runs; listed again if its end was lost.
-- KEYS: entry, leases. ARGV: job, token, duration. Answers 1 or 0.

local at = now()
if not holds(KEYS[1], KEYS[2], ARGV[1], ARGV[2], at) then
  return 0
end
-- First a write that Redis takes when it is out of memory: it then lets the others through, which
-- only change a number. A full Redis costs no worker its lease.
redis.call('PERSIST', KEYS[1])
lend(KEYS[1], KEYS[2], ARGV[1], at + tonumber(ARGV[3]))
return 1
