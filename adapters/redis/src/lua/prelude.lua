-- What every script begins with: Redis's clock, and the check of a key's type that comes before
-- the first write.

-- Microseconds since 1970. Doubles hold them exactly; never `tostring` one, it rounds.
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- Which run of Redis this is, and '1' where it writes an append-only file. Some 8 µs.
local function this_run()
  local id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  return id, string.match(redis.call('INFO', 'persistence'), 'aof_enabled:(%d)')
end

-- Whether a log of which this was noted at its latest append may have lost that append's successors:
-- Redis was started anew since, from a copy that can be older. A server that was promoted from
-- replica to primary is such a copy, append-only file or not.
local function may_have_lost(run, aof, run_now)
  if run == run_now then
    return false
  end
  local promoted = string.match(redis.call('INFO', 'replication'), 'second_repl_offset:(%-?%d+)')
  return aof ~= '1' or promoted ~= '-1'
end

-- Ends the script unless `key` is absent or of type `kind`.
local function expect(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= kind then
    error({ err = 'WRONGTYPE ' .. key .. ' is a ' .. found .. ' and must be a ' .. kind })
  end
end

-- How many keys that something else has written to are kept aside, and how long each: a week.
local most_aside, aside_for = 100, 7 * 24 * 3600 * 1000

-- What keeps the names of those keys, from the name of any key of ours.
local function aside_of(key)
  local prefix = string.match(key, '^(.-):queue:') or string.match(key, '^(.-):catalogue:')
    or string.match(key, '^(.-):state:')
  return prefix .. ':set-aside'
end

-- Whether this script has moved any key out of the way.
local has_set_aside = false

-- Moves `key` out of the way unless it is absent or of type `kind`, so that one key that something else
-- has written to holds up no other job. It is kept for an operator to look at, bounded in number and time,
-- and named once to the process that asks with `unreported`. What the caller then finds is an absent key.
local function set_aside_unless(key, kind)
  local found = redis.call('TYPE', key).ok
  if found == 'none' or found == kind then
    return
  end
  has_set_aside = true
  local aside = aside_of(key)
  local kept = aside .. ':' .. key
  redis.call('RENAME', key, kept)
  redis.call('PEXPIRE', kept, aside_for)
  redis.call('ZADD', aside, now(), kept)
  redis.call('PEXPIRE', aside, aside_for)
  while redis.call('ZCARD', aside) > most_aside do
    local oldest = redis.call('ZRANGE', aside, 0, 0)[1]
    redis.call('DEL', oldest)
    redis.call('ZREM', aside, oldest)
  end
  local new = aside .. ':new'
  redis.call('ZADD', new, now(), key .. ' was a ' .. found .. ' and must be a ' .. kind)
  redis.call('ZREMRANGEBYRANK', new, 0, -(most_aside + 1))
  redis.call('PEXPIRE', new, aside_for)
end

-- A command on a key of that kind. One that something else has written to is set aside first.
local function on(kind, command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) == 'table' and answer.err then
    set_aside_unless(key, kind)
    return redis.call(command, key, ...)
  end
  return answer
end

-- Lists a job in one of the queue's sets. Nothing of the queue has a time to live: a job leaves it when
-- it ends, however long no worker comes, and quotas bound how many do. One that an earlier build gave is
-- taken off by the sweep.
local function enlist(set, moment, job_id)
  on('zset', 'ZADD', set, moment, job_id)
end

-- When a lease ends that is in an entry as `noted`; nothing if that was lost. An earlier build noted it in
-- the list of leases alone.
local function end_of(noted, leases, job_id)
  local ends = noted and tonumber(noted)
  if ends then
    return ends
  end
  local listed = on('zset', 'ZSCORE', leases, job_id)
  return listed and tonumber(listed)
end

-- When the job's lease ends, if it is the one with this token. One whose end was lost still runs: had
-- another worker taken the job over, the entry would have another token.
local function lease_end(entry, leases, job_id, token)
  local lease = on('hash', 'HMGET', entry, 'token', 'until')
  if lease[1] ~= token then
    return nil
  end
  return end_of(lease[2], leases, job_id) or math.huge
end

-- Lets a lease end at `ends`, and writes what else is given into its entry. The entry says when; `leases`
-- lists all by it, to find those that have run out.
local function lend(entry, leases, job_id, ends, ...)
  on('hash', 'HSET', entry, 'until', ends, ...)
  enlist(leases, ends, job_id)
end

-- Whether a lease runs at `at`, and its token is this one.
local function holds(entry, leases, job_id, token, at)
  local ends = lease_end(entry, leases, job_id, token)
  return ends ~= nil and ends > at
end

-- Whether a lease has run out at `at`, and its token is this one.
local function has_expired(entry, leases, job_id, token, at)
  local ends = lease_end(entry, leases, job_id, token)
  return ends ~= nil and ends <= at
end

-- Takes the next keys that were set aside and that no process was told of.
local function unreported(key)
  local new = aside_of(key) .. ':new'
  local found = redis.call('ZRANGE', new, 0, 9)
  for _, told in ipairs(found) do
    redis.call('ZREM', new, told)
  end
  return found
end

-- Whether a text can be an id or a token of ours.
local function is_id(text)
  return text and #text <= 64 and string.match(text, '^[%w_-]+$') ~= nil
end
