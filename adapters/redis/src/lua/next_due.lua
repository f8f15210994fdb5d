-- Microseconds until the next job is claimable; nothing when none waits. KEYS: ready.

local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if not first[2] then
  return false
end
return math.max(0, tonumber(first[2]) - now())
