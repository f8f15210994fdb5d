-- What every script begins with: Redis's clock, and the check of a key's type that comes before
-- the first write.

-- Microseconds since 1970. Doubles hold them exactly; never `tostring` one, it rounds.
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- Ends the script unless `key` is absent or of type `kind`.
local function expect(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= kind then
    error({ err = 'WRONGTYPE ' .. key .. ' is a ' .. found .. ' and must be a ' .. kind })
  end
end
