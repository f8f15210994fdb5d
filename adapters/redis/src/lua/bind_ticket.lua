-- Keeps a ticket that isn't bound for longer, as one that is bound to a stream.
-- KEYS: grant, the caller's tickets, all tickets, the caller's bound ones, all bound ones. ARGV: hash, grant,
-- life in microseconds and in milliseconds, most per caller, most in total. Answers 1 if it did, else 0.

local at = now()
expect(KEYS[1], 'string')
for i = 2, 5 do
  expect(KEYS[i], 'zset')
end
-- As in put_ticket: refused here when Redis is out of memory.
redis.call('ZADD', KEYS[5], 'XX', 0, '')
for i = 4, 5 do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', at)
end
local fresh = redis.call('ZSCORE', KEYS[3], ARGV[1])
if not fresh or redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
if redis.call('ZCOUNT', KEYS[5], '-inf', '+inf') >= tonumber(ARGV[6]) then
  return 0
end
-- The caller's that ends first makes room: most likely a page that was left long ago.
local prefix = string.sub(KEYS[1], 1, -1 - string.len(ARGV[1]))
while redis.call('ZCOUNT', KEYS[4], '-inf', '+inf') >= math.max(1, tonumber(ARGV[5])) do
  local first = redis.call('ZRANGE', KEYS[4], 0, 0)[1]
  redis.call('ZREM', KEYS[4], first)
  redis.call('ZREM', KEYS[5], first)
  redis.call('DEL', prefix .. first)
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[4])
for i = 2, 3 do
  redis.call('ZREM', KEYS[i], ARGV[1])
end
for i = 4, 5 do
  redis.call('ZADD', KEYS[i], at + tonumber(ARGV[3]), ARGV[1])
  -- Never shorter than the life of the longest ticket in it.
  redis.call('PEXPIRE', KEYS[i], ARGV[4], 'NX')
  redis.call('PEXPIRE', KEYS[i], ARGV[4], 'GT')
end
return 1
