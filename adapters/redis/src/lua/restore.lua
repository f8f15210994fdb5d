-- The lease and the record of a job of which Redis knows nothing but, at most, what a foreign program
-- announced: that goes, with the result that its end left.
-- KEYS: log, state, entry, ready, leases, record, retention index, event ids, result, the lists of
-- unfinished and of ended foreign logs, the latest commits, then the record's indexes.
-- ARGV: job, token, worker, attempts that counted, duration, own, its bucket, then the record.
-- Answers 1 or 0.

local log, state, entry, ready, leases = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id = ARGV[1]
local own = ARGV[6] == '1'
local at = now()
expect(state, 'hash')
set_aside_unless(ready, 'zset')
set_aside_unless(leases, 'zset')
set_aside_unless(entry, 'hash')
expect(KEYS[10], 'zset')
expect(KEYS[11], 'zset')
local record = record_from(KEYS[6], KEYS[7], 13, 8)
set_aside_unless(KEYS[6], 'hash')
local forged = own and redis.call('HGET', state, 'own') == '0'
-- An entry has no lifetime, log and record do: what is left may be the caller's own place.
local held = forged and redis.call('HGET', entry, 'token') == ARGV[2]
local queued = redis.call('EXISTS', entry) > 0 or redis.call('ZSCORE', leases, id)
if queued and not held or redis.call('ZSCORE', ready, id)
  or redis.call('EXISTS', KEYS[6]) > 0
  or not forged and redis.call('EXISTS', log, state) > 0 then
  return 0
end
-- First of all, for Redis refuses it when it is out of memory: what is taken away then stays.
lend(entry, leases, id, at + tonumber(ARGV[5]), 'token', ARGV[2], 'worker', ARGV[3], 'attempts', ARGV[4])
if forged then
  redis.call('DEL', log, state, KEYS[8], KEYS[9])
  redis.pcall('HDEL', KEYS[12], ARGV[7])
  -- It has run out: the next append takes its bytes off.
  redis.call('ZADD', KEYS[10], 'XX', 0, id)
  redis.call('ZADD', KEYS[11], 'XX', 0, id)
end
if own then
  put_record(record, at)
end
return 1
