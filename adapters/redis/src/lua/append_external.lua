-- Events into the log of a job that isn't ours. Any publisher can begin one by making an id up, so their
-- number is bounded: two sorted sets hold their jobs by the moment at which each log runs out. What is kept
-- of them is bounded in bytes, too: a hash has those of each log, and under `all` of all.
-- KEYS: those of a commit, the sets of unfinished and of ended jobs, the hash.
-- ARGV: those of a commit, then the bytes of these events; how many its job and all jobs may have with it, if
-- it goes on with a log and if it begins one; how many bytes of a log are kept; how many unfinished and
-- ended logs there may be; and how long the longest lives.
-- Answers the outcome's name, for a duplicate or a conflict the epoch and sequence, and of what it is full.

local unfinished, ended, bytes = KEYS[5], KEYS[6], KEYS[7]
local size = tonumber(ARGV[KIND])

-- Some logs that have run out, of both sets.
local function run_out(at, most)
  local jobs = redis.call('ZRANGEBYSCORE', unfinished, '-inf', at, 'LIMIT', 0, most)
  for _, job in ipairs(redis.call('ZRANGEBYSCORE', ended, '-inf', at, 'LIMIT', 0, most)) do
    jobs[#jobs + 1] = job
  end
  return jobs
end

local function bytes_of(job)
  return tonumber(redis.call('HGET', bytes, job) or 0)
end

-- Decides how often a log is closed before its next event, so that this fits into the bytes that its job may
-- have; changes nothing. `c.bytes` is what was ever appended, `c.cut` what was cut off of that, `marked`
-- where its mark stands. No more than half of the bound lies behind a mark, so what is cut off is the older
-- half; only an event that is larger than that may leave less.
-- Answers the bytes that are then kept, and those that are cut off for it.
local function make_room(c, marked)
  local cut, bound = c.cut, tonumber(ARGV[KIND + 5])
  local kept = c.bytes - cut
  c.closes = 0
  local function close_here()
    cut, marked, c.closes = marked or cut, c.bytes, c.closes + 1
  end
  if c.bytes > (marked or cut) and c.bytes - (marked or cut) + size > bound / 2 then
    close_here()
  end
  if c.bytes > cut and c.bytes - cut + size > bound then
    close_here()
  end
  return c.bytes - cut, kept - (c.bytes - cut)
end

local external = { own = '0' }

-- What there is no room for, once so much of the log is trimmed as may be; nothing if the event fits.
-- Changes nothing: what has run out is only taken off when something is appended.
function external.lacks_bytes(c, state, at)
  c.bytes, c.cut = tonumber(state[12] or 0), tonumber(state[13] or 0)
  if is_recorded(c) then
    return nil
  end
  local begins, kept, freed = not state[1], 0, 0
  if not begins and not c.replaces then
    kept, freed = make_room(c, tonumber(state[14]))
  end
  local most = KIND + (begins and 3 or 1)
  if kept + size > tonumber(ARGV[most]) then
    return 'job bytes'
  end
  local counted = redis.call('HMGET', bytes, c.job_id, 'all')
  c.counted, c.all = tonumber(counted[1] or 0), tonumber(counted[2] or 0)
  local all, most_of_all = c.all + size - freed, tonumber(ARGV[most + 1])
  if all > most_of_all then
    -- Those that have run out are taken off with this one, or it would look for them again and again.
    c.whole = true
    for _, job in ipairs(run_out(at, 1000)) do
      all = all - bytes_of(job)
    end
  end
  return all > most_of_all and 'bytes' or nil
end

-- Whether one more log may begin. Counts, and changes nothing.
function external.begins(c, at)
  return is_recorded(c) or redis.call('ZCOUNT', unfinished, at, '+inf') < tonumber(ARGV[KIND + 6])
    and redis.call('ZCOUNT', ended, at, '+inf') < tonumber(ARGV[KIND + 7])
end

-- Whether the log of one that has ended may go on: it is counted among the ended until then.
function external.goes_on(c, at)
  return redis.call('ZCOUNT', unfinished, at, '+inf') < tonumber(ARGV[KIND + 6])
end

function external.prepare()
  expect(unfinished, 'zset')
  expect(ended, 'zset')
  expect(bytes, 'hash')
end

-- Counts the bytes of a log, and takes off those of logs that have run out.
local function count(c, at)
  local kept = c.bytes - c.cut
  local all = c.all - c.counted + kept
  if c.whole then
    for _, job in ipairs(run_out(at, 50)) do
      if job ~= c.job_id then
        all = all - bytes_of(job)
        redis.call('HDEL', bytes, job)
      end
      redis.call('ZREM', unfinished, job)
      redis.call('ZREM', ended, job)
    end
  end
  redis.call('HSET', bytes, c.job_id, kept, 'all', string.format('%.0f', math.max(all, kept)))
end

-- Lists a log by when it runs out.
local function list(c, at)
  local here, other = unfinished, ended
  if c.ended then
    here, other = other, here
  end
  redis.call('ZREM', other, c.job_id)
  redis.call('ZADD', here, at + tonumber(c.ttl) * 1000, c.job_id)
  -- As long as the bytes, or what a list that nothing is added to has still to take off would stay on them.
  for _, key in ipairs({ unfinished, ended, bytes }) do
    redis.call('PEXPIRE', key, ARGV[KIND + 8])
  end
end

local commit = read_commit()
local at = now()
local refused = refusal(commit, external, at)
if refused then
  return refused
end
if commit.begins then
  begin(commit)
elseif (commit.closes or 0) > 0 then
  -- As the first write of `begin`: refused when Redis is out of memory.
  redis.call('HSET', commit.state, 'epoch', commit.epoch)
  for _ = 1, commit.closes do
    local place = string.format('%.0f', commit.first - 1)
    close(commit, place, redis.call('HGET', commit.state, 'fold'))
  end
end
commit.bytes = commit.bytes + size
append(commit, external, at, 'bytes', commit.bytes)
if commit.effect then
  queue_effect(commit, at)
end
if not is_recorded(commit) then
  count(commit, at)
  if commit.renews then
    list(commit, at)
  end
end
announce(commit)
return { 'appended' }
