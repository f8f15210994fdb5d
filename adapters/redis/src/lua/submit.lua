-- A new job: its first event, its queue entry and the caller's key, in one step.
-- KEYS[10] is the caller's key; without one its lifetime is empty. ARGV ends with digest, lifetime,
-- and how many jobs there may be in the queue and in the catalogue, all of which `record_from` would
-- take for touches: they are taken off first.
-- Answers new, existing (with the job), reused, why the log refused, or full and of what.

local max_jobs = tonumber(table.remove(ARGV))
local max_queued = tonumber(table.remove(ARGV))
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
-- Only now: what is known already takes no room.
if redis.call('ZCARD', commit.ready) + redis.call('ZCARD', commit.leases) >= max_queued then
  return { 'full', 'queue' }
end
if commit.record and is_full(commit.record, max_jobs, at) then
  return { 'full', 'catalogue' }
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
