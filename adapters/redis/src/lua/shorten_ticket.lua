-- Lets a bound ticket end sooner, if it would last longer.
-- KEYS: grant, the caller's bound tickets, all bound ones. ARGV: hash, life in microseconds and in milliseconds.

local at = now()
expect(KEYS[1], 'string')
if redis.call('PEXPIRE', KEYS[1], ARGV[3], 'LT') == 1 then
  for i = 2, 3 do
    redis.call('ZADD', KEYS[i], 'XX', at + tonumber(ARGV[2]), ARGV[1])
  end
end
return 1
