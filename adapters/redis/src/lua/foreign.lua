-- Logs of external jobs. Any publisher can begin one by making an id up, so their number is
-- bounded: two sorted sets hold their jobs by the moment at which each log runs out.

-- What is kept of them is bounded in bytes, too: a hash has those of each log, and of all.

-- Reads both sets and the hash from KEYS, and from ARGV how many logs there may be, the bytes of this
-- event, how many its job and all jobs may have with it, if it begins a log and if it doesn't, and within
-- how many its job's log is trimmed.
local function foreign_from(key_from, argument_from)
  local function argument(place)
    return tonumber(ARGV[argument_from + place])
  end
  return {
    unfinished = KEYS[key_from], ended = KEYS[key_from + 1], bytes = KEYS[key_from + 2],
    most = argument(0), most_ended = argument(1), size = argument(2),
    first = { job = argument(3), all = argument(4) }, next = { job = argument(5), all = argument(6) },
    longest = argument(7), of_job = argument(8),
  }
end

local function expect_foreign(f)
  expect(f.unfinished, 'zset')
  expect(f.ended, 'zset')
  expect(f.bytes, 'hash')
end

-- Some logs that have run out, of both sets.
local function run_out(f, at, most)
  local jobs = redis.call('ZRANGEBYSCORE', f.unfinished, '-inf', at, 'LIMIT', 0, most)
  for _, job in ipairs(redis.call('ZRANGEBYSCORE', f.ended, '-inf', at, 'LIMIT', 0, most)) do
    jobs[#jobs + 1] = job
  end
  return jobs
end

local function bytes_of(f, job)
  return tonumber(redis.call('HGET', f.bytes, job) or 0)
end

-- What there is no room for, of a log of which so many bytes are kept once so many are trimmed; nothing if
-- it fits. Changes nothing: what has run out is only taken off when something is appended.
local function lacks_bytes(f, begins, kept, freed, at)
  local most = begins and f.first or f.next
  if kept + f.size > most.job then
    return 'job bytes'
  end
  local all = bytes_of(f, 'all') + f.size - freed
  if all > most.all then
    for _, job in ipairs(run_out(f, at, 1000)) do
      all = all - bytes_of(f, job)
    end
  end
  return all > most.all and 'bytes' or nil
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
local function list_foreign(f, job_id, ended, kept, ttl, at)
  local list, other = f.unfinished, f.ended
  if ended then
    list, other = other, list
  end
  redis.call('ZREM', other, job_id)
  local all = bytes_of(f, 'all') - bytes_of(f, job_id) + kept
  for _, job in ipairs(run_out(f, at, 50)) do
    if job ~= job_id then
      all = all - bytes_of(f, job)
      redis.call('HDEL', f.bytes, job)
    end
    redis.call('ZREM', f.unfinished, job)
    redis.call('ZREM', f.ended, job)
  end
  redis.call('HSET', f.bytes, job_id, kept, 'all', string.format('%.0f', math.max(all, kept)))
  redis.call('PEXPIRE', f.bytes, f.longest)
  redis.call('ZADD', list, at + tonumber(ttl) * 1000, job_id)
  -- As long as the bytes, or what a list that nothing is added to has still to take off would stay on them.
  redis.call('PEXPIRE', list, f.longest)
  redis.call('PEXPIRE', other, f.longest)
end
