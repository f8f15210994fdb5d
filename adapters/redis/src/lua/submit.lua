-- A new job: its first event, its queue entry and the caller's key, in one step.
-- The commit's object has beside the rest the name of the caller's `key` (empty: none was given), its
-- `digest` and its `lifetime`, and how many jobs there may be in the queue and in the catalogue.
-- Answers new, existing (with the job), reused, why the log refused, or full and of what.

local commit = read_commit()
local at = now()
local key = commit.key

if key ~= '' then
  expect(key, 'hash')
end
local refused = refusal(commit, own, at)
if refused and refused[1] == 'duplicate' then
  return { 'new' }
end
if key ~= '' then
  local before = redis.call('HMGET', key, 'digest', 'job_id')
  if before[1] then
    if before[1] == commit.digest then
      return { 'existing', before[2] }
    end
    return { 'reused' }
  end
end
if refused then
  return refused
end
-- Only now: what is known already takes no room.
if on('zset', 'ZCARD', commit.ready) + on('zset', 'ZCARD', commit.leases) >= commit.max_queued then
  return { 'full', 'queue' }
end
if is_full(commit.record, commit.max_jobs, at) then
  return { 'full', 'catalogue' }
end

append_own(commit, at)
on('hash', 'HSET', commit.entry, 'attempts', 0, 'client', commit.client, 'priority', commit.priority)
local due = math.max(at, commit.run_at)
wait(order_of(commit.ready), commit.job_id, commit.client, commit.priority, due, at)
if key ~= '' then
  redis.call('HSET', key, 'digest', commit.digest, 'job_id', commit.job_id)
  redis.call('PEXPIRE', key, commit.lifetime)
end
announce(commit)
return { 'new' }
