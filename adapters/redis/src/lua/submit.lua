-- A new job: its first event, its queue entry and the caller's key, in one step.
-- KEYS[10] is the caller's key; without one its lifetime is empty. ARGV ends with
-- digest and lifetime, which `record_from` takes for touches: they are taken off first.
-- Answers new, existing (with the job), reused, or why the log refused.

local lifetime = table.remove(ARGV)
local digest = table.remove(ARGV)
local key = KEYS[10]
local commit = read_commit()
local at = now()

expect(key, 'hash')
local refused = refusal(commit, at)
if refused and refused[1] == 'duplicate' then
  return { 'new' }
end
if lifetime ~= '' then
  local before = redis.call('HMGET', key, 'digest', 'job_id')
  if before[1] then
    if before[1] == digest then
      return { 'existing', before[2] }
    end
    return { 'reused' }
  end
end
if refused then
  return refused
end

append(commit, at)
redis.call('HSET', commit.entry, 'attempts', 0)
redis.call('PEXPIRE', commit.entry, commit.queue_ttl)
redis.call('ZADD', commit.ready, at, commit.job_id)
redis.call('PEXPIRE', commit.ready, commit.queue_ttl)
if lifetime ~= '' then
  redis.call('HSET', key, 'digest', digest, 'job_id', commit.job_id)
  redis.call('PEXPIRE', key, lifetime)
end
announce(commit)
return { 'new' }
