-- Leases that have run out, oldest first. Takes those out whose job has ended or whose entry is gone: the
-- sweep finds a job that lost it. KEYS: leases. ARGV: entry and state prefixes, limit.
-- Answers job, attempt and token of each.

local at = now()
local answer = {}
set_aside_unless(KEYS[1], 'zset')
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', at, 'LIMIT', 0, ARGV[3])
for _, id in ipairs(found) do
  local key = ARGV[1] .. id
  set_aside_unless(key, 'hash')
  set_aside_unless(ARGV[2] .. id, 'hash')
  local entry = redis.call('HMGET', key, 'token', 'attempts', 'until')
  local ends = entry[3] and tonumber(entry[3])
  local ended = redis.call('HGET', ARGV[2] .. id, 'ended') == '1'
  if is_id(id) and is_id(entry[1]) and not ended and ends and ends > at then
    -- The list was wrong.
    enlist(KEYS[1], ends, id)
  elseif is_id(id) and is_id(entry[1]) and not ended then
    answer[#answer + 1] = id
    answer[#answer + 1] = string.format('%.0f', (tonumber(entry[2]) or 0) + 1)
    answer[#answer + 1] = entry[1]
  else
    redis.call('ZREM', KEYS[1], id)
    if ended or not is_id(id) then
      redis.call('DEL', key)
    else
      redis.call('HDEL', key, 'token', 'until')
    end
  end
end
return answer
