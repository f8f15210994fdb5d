-- What is to an append to a job of ours beside its log: the job's record, and its place in the queue.
-- KEYS: those of a commit, then the indexes that list the job, the last of them by its latest event.
-- ARGV: those of a commit, then its score in all indexes but the last, that in the last, the retention, the
-- key of the index by retention, and the records that this one needs.

local function record_of(c)
  local r = {
    key = c.job, expiry = ARGV[KIND + 3], indexes = {}, scores = {}, member = c.job_id, body = c.fold,
    retention = tonumber(ARGV[KIND + 2]), touches = {},
  }
  for i = 5, #KEYS do
    r.indexes[i - 4], r.scores[i - 4] = KEYS[i], ARGV[KIND]
  end
  r.scores[#r.scores] = ARGV[KIND + 1]
  for i = KIND + 4, #ARGV do
    r.touches[#r.touches + 1] = ARGV[i]
  end
  return r
end

local own = { own = '1' }

function own.prepare(c)
  c.record = record_of(c)
end

-- Writes the record of a commit that only moves its job on. Where it isn't as it was written, the whole of
-- it is put back.
local function move_record(c, at)
  local updated = KEYS[#KEYS]
  if redis.pcall('HSET', c.job, 'body', c.fold) == 0
    and type(redis.pcall('ZADD', updated, ARGV[KIND + 1], c.job_id)) == 'number' then
    return
  end
  put_record(record_of(c), at)
end

local function append_own(c, at)
  if c.begins then
    begin(c)
  end
  append(c, own, at)
  if c.effect then
    queue_effect(c, at)
  end
  if c.record then
    put_record(c.record, at)
  else
    move_record(c, at)
  end
end
