-- An append to a job's log, in three parts: `refusal` looks and changes nothing, `append` writes,
-- `announce` publishes. `read_commit` names what comes in.

-- The header (ARGV[1]) is a JSON object: names and numbers. What a commit always writes is in KEYS;
-- the queue and the job's record go by name, for a user that only appends external events needs no right
-- to write there.
local function read_commit()
  local c = cjson.decode(ARGV[1])
  c.log, c.state, c.seen, c.result = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
  c.line, c.fold, c.cached, c.base = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
  c.place = tonumber(c.sequence)
  c.run, c.aof = this_run()
  -- Of a job that isn't ours nothing is in the queue, whatever the fence looks for there.
  c.queued = c.own or c.token ~= '' or c.fence == 'unclaimed'
  if c.own then
    c.record = record_from(c.job, c.retention, 5, 6)
    c.record.body = c.fold
  else
    c.foreign = foreign_from(5, 6)
  end
  return c
end

-- Whether our own Triton has a record of the job: then it wasn't made up by a publisher. Its log
-- may be another's all the same, derived from that record where ours has run out. Asked once: what an
-- append to another's log writes is never such a record.
local function is_recorded(c)
  if c.recorded == nil then
    c.recorded = redis.call('EXISTS', c.job) == 1
  end
  return c.recorded
end

-- An event's score: which of its job's epochs it is in, counted from 0, and its place there.
local EPOCH = 2 ^ 40

-- The answer for an event that was appended before, in this epoch or one that its job went on from.
local function duplicate(c, epoch, past)
  local score = redis.call('ZSCORE', c.seen, c.event_id)
  if not score then
    return nil
  end
  local number = math.floor(tonumber(score) / EPOCH)
  for ended in string.gmatch(past or '', '(%x+)%-%d+') do
    if number == 0 then
      epoch = ended
      break
    end
    number = number - 1
  end
  return { 'duplicate', epoch, string.format('%.0f', tonumber(score) % EPOCH) }
end

-- `own` is what the log's state says of whose the job is.
local function fenced(c, own, at)
  if c.fence == 'open' then
    return false
  end
  if c.fence == 'foreign' then
    return is_recorded(c) or own == '1'
  end
  if c.fence == 'held' then
    return not holds(c.entry, c.leases, c.job_id, c.token, at)
  end
  if c.fence == 'unclaimed' then
    return redis.call('HGET', c.entry, 'token') ~= false
  end
  return not has_expired(c.entry, c.leases, c.job_id, c.token, at)
end

-- Decides how often a log of an external job is closed before its next event, so that this fits into the
-- bytes that its job may have; changes nothing. `c.bytes` is what was ever appended, `cut` what was cut
-- off of that, `marked` where its mark stands. No more than half of the bound lies behind a mark, so what
-- is cut off is the older half; only an event that is larger than that may leave less.
-- Answers the bytes that are then kept, and those that are cut off for it.
local function make_room(c, cut, marked)
  local bytes, size, bound = c.bytes, c.foreign.size, c.foreign.of_job
  local kept = bytes - cut
  c.closes = 0
  local function close()
    cut, marked, c.closes = marked or cut, bytes, c.closes + 1
  end
  if bytes > (marked or cut) and bytes - (marked or cut) + size > bound / 2 then
    close()
  end
  if bytes > cut and bytes - cut + size > bound then
    close()
  end
  return bytes - cut, kept - (bytes - cut)
end

-- Nothing if the commit may be appended.
local function refusal(c, at)
  expect(c.log, 'stream')
  expect(c.state, 'hash')
  expect(c.seen, 'zset')
  if c.queued then
    set_aside_unless(c.entry, 'hash')
    set_aside_unless(c.ready, 'zset')
    set_aside_unless(c.leases, 'zset')
  end
  if c.record then
    expect_record(c.record)
  else
    expect_foreign(c.foreign)
  end

  local state = redis.call('HMGET', c.state, 'epoch', 'sequence', 'ended', 'run', 'aof', 'past',
    'bytes', 'cut', 'mark_bytes', 'mark', 'own')
  local epoch, sequence, ended = state[1], state[2], state[3] == '1'
  c.bytes, c.mark = tonumber(state[7] or 0), tonumber(state[10] or 0)
  if epoch then
    local known = duplicate(c, epoch, state[6])
    if known then
      return known
    end
    if ended and not c.reopens then
      return { 'ended' }
    end
  end
  if fenced(c, state[11], at) then
    return { 'fenced' }
  end
  if c.foreign and not is_recorded(c) then
    local kept, freed = 0, 0
    if epoch and c.replaces_epoch == '' then
      kept, freed = make_room(c, tonumber(state[8] or 0), tonumber(state[9]))
    end
    local lacks = lacks_bytes(c.foreign, not epoch, kept, freed, at)
    if lacks then
      return { 'full', lacks }
    end
  end
  if not epoch then
    c.begins = true
    if c.place == 1 and c.replaces_epoch == '' then
      if c.foreign and not is_recorded(c) and not has_room(c.foreign, at) then
        return { 'full', 'foreign' }
      end
      return nil
    end
    return { 'conflict' }
  end
  -- Another epoch, or the old log's cursors would fit the new one.
  if c.place == 1 and c.epoch ~= epoch
    and c.replaces_epoch == epoch and c.replaces_sequence == sequence and c.reopens == ended then
    if c.reopens and not c.ended and not has_room_to_go_on(c.foreign, at) then
      return { 'full', 'foreign' }
    end
    c.begins = true
    return nil
  end
  if c.replaces_epoch == '' and may_have_lost(state[4], state[5], c.run) then
    return { 'doubtful', epoch, sequence }
  end
  if c.epoch == epoch and c.place == tonumber(sequence) + 1 then
    return nil
  end
  return { 'conflict', epoch, sequence }
end

local function queue_effect(c, at)
  if c.effect == 'requeue' then
    local attempts = tonumber(redis.call('HGET', c.entry, 'attempts')) or 0
    attempts = string.format('%.0f', attempts + (c.counts and 1 or 0))
    redis.call('HSET', c.entry, 'attempts', attempts, 'client', c.client, 'priority', c.priority)
    redis.call('HDEL', c.entry, 'token', 'worker', 'until')
    redis.call('PERSIST', c.entry)
    redis.call('ZREM', c.leases, c.job_id)
    wait(order_of(c.ready), c.job_id, c.client, c.priority, at + c.after, at)
  elseif c.effect == 'remove' then
    redis.call('DEL', c.entry)
    redis.call('ZREM', c.leases, c.job_id)
    wait_no_more(order_of(c.ready), c.job_id, c.client)
  end
end

-- Cuts a log off at its mark, whose fold becomes the base, and notes the fold at its head as the next
-- mark: the store can't fold, so a log can only be cut where a fold was noted.
local function close(c, head, fold)
  local mark = redis.call('HMGET', c.state, 'mark', 'mark_fold', 'mark_bytes', 'bytes')
  if mark[1] then
    redis.call('XTRIM', c.log, 'MINID', '=', string.format('%.0f-0', tonumber(mark[1]) + 1))
    redis.call('HSET', c.state, 'base', mark[2], 'cut', mark[3] or 0)
  end
  redis.call('HSET', c.state, 'mark', head, 'mark_fold', fold, 'mark_bytes', mark[4] or 0)
  c.mark = tonumber(head)
end

-- Closes a log of `history` events behind its mark: so at least as many are kept, fewer than twice as
-- many, unless those of an external job take too many bytes.
local function trim(c)
  if c.place - c.mark >= c.history then
    close(c, c.sequence, c.fold)
  end
end

local function append(c, at)
  -- First a command that Redis refuses when it is out of memory: once a script has written
  -- anything, `DEL` included, Redis lets all the rest through.
  redis.call('HSET', c.state, 'epoch', c.epoch)
  if c.begins then
    redis.call('DEL', c.log, c.state)
    c.bytes, c.mark = 0, 0
    redis.call('DEL', c.reopens and c.result or c.seen)
    if c.past ~= '' then
      redis.call('HSET', c.state, 'past', c.past)
    end
  end
  for _ = 1, c.closes or 0 do
    close(c, string.format('%.0f', c.place - 1), redis.call('HGET', c.state, 'fold'))
  end
  redis.call('XADD', c.log, c.sequence .. '-0', 'line', c.line, 'event_id', c.event_id)
  redis.call('HSET', c.state, 'epoch', c.epoch, 'sequence', c.sequence,
    'ended', c.ended and '1' or '0', 'own', c.own and '1' or '0', 'fold', c.fold,
    'run', c.run, 'aof', c.aof)
  if c.base ~= '' then
    redis.call('HSET', c.state, 'base', c.base)
  end
  if c.foreign then
    -- No `HINCRBY`: the edge's user has no right to it.
    redis.call('HSET', c.state, 'bytes', c.bytes + c.foreign.size)
  end
  trim(c)
  redis.call('ZADD', c.seen, string.format('%.0f', c.past_epochs * EPOCH + c.place), c.event_id)
  redis.call('ZREMRANGEBYRANK', c.seen, 0, -(c.remembered + 2))
  redis.call('PEXPIRE', c.log, c.ttl)
  redis.call('PEXPIRE', c.state, c.ttl)
  redis.call('PEXPIRE', c.seen, c.ttl)
  if c.queued then
    queue_effect(c, at)
  end
  if c.record then
    put_record(c.record, at)
  elseif not is_recorded(c) then
    local bytes = redis.call('HMGET', c.state, 'bytes', 'cut')
    local kept = tonumber(bytes[1]) - tonumber(bytes[2] or 0)
    list_foreign(c.foreign, c.job_id, c.ended, kept, c.ttl, at)
  end
  if c.cached ~= '' then
    redis.call('SET', c.result, c.cached, 'PX', c.result_ttl)
  end
end

local function announce(c)
  if c.every_job ~= '' then
    redis.call('PUBLISH', c.every_job, c.line)
    redis.call('PUBLISH', c.one_job, c.line)
  end
end
