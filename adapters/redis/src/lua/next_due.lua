-- Microseconds until the next job is claimable; nothing when none waits. KEYS: ready.

set_aside_unless(KEYS[1], 'zset')
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if not first[2] then
  return false
end
return math.max(0, tonumber(first[2]) - now())
