-- Logs of jobs that are not our own Triton's. Whoever may publish begins one by making an id up, so
-- there are only so many: two sorted sets hold their jobs by the moment at which each log runs out.

-- Reads both sets from KEYS, and how many they may hold from ARGV, from these places on.
local function foreign_from(key_from, argument_from)
  return {
    unfinished = KEYS[key_from], ended = KEYS[key_from + 1],
    most = tonumber(ARGV[argument_from]), most_ended = tonumber(ARGV[argument_from + 1]),
  }
end

local function expect_foreign(f)
  expect(f.unfinished, 'zset')
  expect(f.ended, 'zset')
end

-- Whether one more log may begin. Counts, and changes nothing.
local function has_room(f, at)
  return redis.call('ZCOUNT', f.unfinished, at, '+inf') < f.most
    and redis.call('ZCOUNT', f.ended, at, '+inf') < f.most_ended
end

-- Whether the log of one that has ended may go on: it is counted among the ended until then.
local function has_room_to_go_on(f, at)
  return redis.call('ZCOUNT', f.unfinished, at, '+inf') < f.most
end

-- Lists a log that something was appended to, and takes those out that have run out.
local function list_foreign(f, job_id, ended, ttl, at)
  local list, other = f.unfinished, f.ended
  if ended then
    list, other = other, list
  end
  redis.call('ZREM', other, job_id)
  redis.call('ZREMRANGEBYSCORE', list, '-inf', at)
  redis.call('ZADD', list, at + tonumber(ttl) * 1000, job_id)
  redis.call('PEXPIRE', list, ttl)
end
