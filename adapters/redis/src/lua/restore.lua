-- The lease and the record of a job of which Redis knows nothing.
-- KEYS: log, state, entry, ready, leases, record, retention index, then the record's indexes.
-- ARGV: job, token, worker, attempts that counted, duration, own, then the record.
-- Answers 1 or 0.

local log, state, entry, ready, leases = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id = ARGV[1]
local at = now()
expect(leases, 'zset')
local record = record_from(KEYS[6], KEYS[7], 8, 7)
expect_record(record)
local known = redis.call('EXISTS', log, state, entry, KEYS[6])
if known > 0 or redis.call('ZSCORE', ready, id) or redis.call('ZSCORE', leases, id) then
  return 0
end
redis.call('HSET', entry, 'token', ARGV[2], 'worker', ARGV[3], 'attempts', ARGV[4])
enlist(leases, at + tonumber(ARGV[5]), id)
if ARGV[6] == '1' then
  put_record(record, at)
end
return 1
