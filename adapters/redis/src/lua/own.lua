-- What is to an append to a job of ours beside its log: the job's record, and its place in the queue.
-- KEYS: those of a commit, then the indexes that list the job, the last of them by its latest event.
-- ARGV: those of a commit, then its score in all indexes but the last, that in the last, the retention, the
-- key of the index by retention, the number of templates; where there are any the key of their places, these
-- places' lifetime, the prefix of their keys, their retention, and of each its id, place, score and two indexes;
-- and then the records that the job's needs.

-- The templates of a commit, and what `keep` needs to keep them.
local function templates_of()
  local kept = {
    places = ARGV[TEMPLATES], lifetime = ARGV[TEMPLATES + 1], expiry = ARGV[KIND + 3],
    retention = tonumber(ARGV[TEMPLATES + 3]),
  }
  local templates, prefix = {}, ARGV[TEMPLATES + 2]
  for i = 1, templates_count do
    local id, place, score, index, of_client = unpack(ARGV, FIRST_TEMPLATE + 5 * (i - 1), FIRST_TEMPLATE + 5 * i - 1)
    templates[i] = { id = id, key = prefix .. id, place = place, score = score, indexes = { index, of_client } }
  end
  return templates, kept, prefix
end

local function record_of(c)
  local r = {
    key = c.job, expiry = ARGV[KIND + 3], indexes = {}, scores = {}, member = c.job_id, body = c.fold,
    retention = tonumber(ARGV[KIND + 2]), touches = {}, stays = not c.anew,
  }
  for i = 5, #KEYS do
    r.indexes[i - 4], r.scores[i - 4] = KEYS[i], ARGV[KIND]
  end
  r.scores[#r.scores] = ARGV[KIND + 1]
  for i = NEEDS, #ARGV do
    r.touches[#r.touches + 1] = ARGV[i]
  end
  return r
end

local own = { own = '1' }

-- Why the templates can't be kept; nothing if they can, or there are none.
function own.refuses(c)
  if templates_count == 0 then
    return
  end
  local prefix
  c.templates, c.kept, prefix = templates_of()
  local other = taken(c.kept.places, prefix, c.templates)
  if other then
    return { 'taken', other.place }
  end
  if not are_staged(c.templates) then
    return { 'unstaged' }
  end
end

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
  c.anew = true
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
  if c.templates then
    keep(c.kept, c.templates, at)
  end
end
