-- Leases that have run out, oldest first. Takes those out whose job has ended or whose entry is gone.
-- KEYS: leases. ARGV: entry and state prefixes, limit. Answers job, attempt and token of each.

local at = now()
local answer = {}
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', at, 'LIMIT', 0, ARGV[3])
for _, id in ipairs(found) do
  local entry = redis.call('HMGET', ARGV[1] .. id, 'token', 'attempts')
  if entry[1] and redis.call('HGET', ARGV[2] .. id, 'ended') ~= '1' then
    answer[#answer + 1] = id
    answer[#answer + 1] = string.format('%.0f', (tonumber(entry[2]) or 0) + 1)
    answer[#answer + 1] = entry[1]
  else
    redis.call('ZREM', KEYS[1], id)
    redis.call('DEL', ARGV[1] .. id)
  end
end
return answer
