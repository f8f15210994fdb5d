-- Keeps a grant for its ticket's life, if the caller and everybody together have room.
-- KEYS: grant, the caller's tickets, all tickets. ARGV: hash, grant, life in microseconds and in
-- milliseconds, most per caller, most in total. Answers stored, caller or total.

local at = now()
expect(KEYS[1], 'string')
expect(KEYS[2], 'zset')
expect(KEYS[3], 'zset')
-- Changes nothing, and is refused when Redis is out of memory: after the removals, which never are, Redis
-- would let the writes below through.
redis.call('ZADD', KEYS[3], 'XX', 0, '')
-- What has ended counts no more. These and their keys expire by themselves.
for i = 2, 3 do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', at)
end
if redis.call('ZSCORE', KEYS[3], ARGV[1]) and redis.call('EXISTS', KEYS[1]) == 1 then
  -- The same one again: its first answer was lost.
  return 'stored'
end
if redis.call('ZCOUNT', KEYS[2], '-inf', '+inf') >= tonumber(ARGV[5]) then
  return 'caller'
end
if redis.call('ZCOUNT', KEYS[3], '-inf', '+inf') >= tonumber(ARGV[6]) then
  return 'total'
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[4])
for i = 2, 3 do
  redis.call('ZADD', KEYS[i], at + tonumber(ARGV[3]), ARGV[1])
  -- Never shorter than the life of the longest ticket in it.
  redis.call('PEXPIRE', KEYS[i], ARGV[4], 'NX')
  redis.call('PEXPIRE', KEYS[i], ARGV[4], 'GT')
end
return 'stored'
