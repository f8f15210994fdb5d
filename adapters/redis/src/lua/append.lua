-- An append to a job's log, in three parts: `refusal` looks and changes nothing, `append` writes,
-- `announce` publishes. `read_commit` names what comes in. What belongs to one kind of job is in the script
-- that appends to such a job.
--
-- Most appends only move their job's log on. What else belongs to a log and its job is written as a `whole` by
-- those that change something of it, and by one in a while, which also renews the lifetimes: so that nothing
-- runs out too early and what was lost is there again.

-- What a commit always has is in its place, its events at last: their ids, then their lines. What few have is
-- in a JSON object, where there is any: what it replaces, whether it reopens, what its job has been through,
-- whether it ends, what becomes of the queue.
-- The queue and the job's record go by name, for a user that only appends external events needs no right to
-- write there.
local function read_commit()
  local c = {
    log = KEYS[1], state = KEYS[2], seen = KEYS[3], result = KEYS[4],
    job_id = ARGV[1], epoch = ARGV[3], sequence = ARGV[4], place = tonumber(ARGV[4]),
    fold = ARGV[5], cached = ARGV[6], base = ARGV[7],
    fence = ARGV[8], token = ARGV[9], entry = ARGV[10], leases = ARGV[11],
    job = ARGV[12], listed = ARGV[13], every_job = ARGV[14], one_job = ARGV[15],
    history = tonumber(ARGV[16]), remembered = tonumber(ARGV[17]), ttl = ARGV[18], slack = tonumber(ARGV[19]),
    -- Which run of Redis this is, as far as the connection knows.
    run = ARGV[21], aof = ARGV[22],
    sealed_channel = ARGV[23], sealed = ARGV[24],
    -- What is noted of the latest commit, for whoever follows many logs.
    stamps = ARGV[25], bucket = ARGV[26],
    latest = ARGV[EVENTS + count - 1],
    reopens = false,
  }
  -- `place` and `sequence` are those of the last event.
  c.first = c.place - count + 1
  if ARGV[20] ~= '' then
    for name, value in pairs(cjson.decode(ARGV[20])) do
      c[name] = value
    end
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

-- The answer for events that were appended before, the first one with that score, in this epoch or one that
-- their job went on from.
local function duplicate(score, epoch, past)
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
    return on('hash', 'HGET', c.entry, 'token') ~= false
  end
  return not has_expired(c.entry, c.leases, c.job_id, c.token, at)
end

-- Whether the log may have lost its latest events: see `may_have_lost`. Redis is asked which run this is
-- only where the connection doesn't know, or knows another one than the latest append.
local function is_doubtful(c, run, aof)
  if run == c.run then
    return false
  end
  c.run, c.aof = this_run()
  return may_have_lost(run, aof, c.run)
end

-- Nothing if the commit may be appended. `kind` has what its kind of job adds: `lacks_bytes`, `begins` and
-- `goes_on` say what there is no room for, `refuses` why else it may not be, `prepare` looks at the keys of a
-- whole, `own` is noted.
local function refusal(c, kind, at)
  local state = redis.call('HMGET', c.state, 'epoch', 'sequence', 'ended', 'run', 'aof', 'past',
    'mark', 'latest', 'listed', 'renewed', 'own', 'bytes', 'cut', 'mark_bytes')
  local epoch, sequence, ended = state[1], state[2], state[3] == '1'
  c.noted_run, c.noted_aof, c.mark = state[4], state[5], tonumber(state[7] or 0)
  -- Whether the log's latest event is the one that a build that noted all this appended.
  local goes_on = false
  if epoch then
    local scores = redis.call('ZMSCORE', c.seen, state[8] or '', unpack(ARGV, EVENTS, EVENTS + count - 1))
    local known = 0
    for i = 2, count + 1 do
      known = known + (scores[i] and 1 or 0)
    end
    if known == count then
      return duplicate(scores[2], epoch, state[6])
    elseif known > 0 then
      return { 'torn' }
    end
    goes_on = scores[1] and tonumber(scores[1]) % EPOCH == tonumber(sequence)
    if ended and not c.reopens then
      return { 'ended' }
    end
  end
  if fenced(c, state[11], at) then
    return { 'fenced' }
  end
  local lacks = kind.lacks_bytes and kind.lacks_bytes(c, state, at)
  if lacks then
    return { 'full', lacks }
  end
  if not epoch then
    if c.first ~= 1 or c.replaces then
      return { 'conflict' }
    end
    c.begins = true
    if kind.begins and not kind.begins(c, at) then
      return { 'full', 'foreign' }
    end
  elseif c.first == 1 and c.epoch ~= epoch and c.replaces and c.replaces.epoch == epoch
    and c.replaces.sequence == sequence and c.reopens == ended then
    -- Another epoch, or the old log's cursors would fit the new one.
    if c.reopens and not c.ended and not kind.goes_on(c, at) then
      return { 'full', 'foreign' }
    end
    c.begins = true
  else
    if not c.replaces and is_doubtful(c, state[4], state[5]) then
      return { 'doubtful', epoch, sequence }
    end
    if c.epoch ~= epoch or c.first ~= tonumber(sequence) + 1 then
      return { 'conflict', epoch, sequence }
    end
  end
  local refused = kind.refuses and kind.refuses(c)
  if refused then
    return refused
  end
  -- Where the latest event isn't among those seen, they were lost, and so was their lifetime.
  c.renewed = tonumber(state[10]) or 0
  -- Whether nothing that was written before is taken to be there still.
  c.anew = c.begins or not goes_on or not state[9] or at >= c.renewed + c.slack
  c.renews = c.ended or c.anew
  c.whole = c.whole or c.renews or c.listed ~= state[9]
  c.is_new = not epoch and redis.call('EXISTS', c.log, c.seen) == 0
  if c.begins and not c.is_new then
    -- Nothing that isn't ours is deleted.
    expect(c.log, 'stream')
    expect(c.seen, 'zset')
  end
  if c.whole and kind.prepare then
    kind.prepare(c)
  end
end

-- Cuts a log off at its mark, whose fold becomes the base, and notes the fold at its head as the next
-- mark: the store can't fold, so a log can only be cut where a fold was noted.
local function close(c, head, fold)
  local mark = redis.call('HMGET', c.state, 'mark', 'mark_fold', 'mark_bytes', 'bytes')
  if mark[1] then
    c.cut = tonumber(mark[3] or 0)
    redis.call('XTRIM', c.log, 'MINID', '=', string.format('%.0f-0', tonumber(mark[1]) + 1))
    redis.call('HSET', c.state, 'base', mark[2], 'cut', c.cut)
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

-- Makes room for another epoch, where there is anything. The first write is one that Redis refuses when it is out
-- of memory: once a script has written anything, `DEL` included, Redis lets all the rest through.
local function begin(c)
  c.bytes, c.cut, c.mark = 0, 0, 0
  if not c.is_new then
    redis.call('HSET', c.state, 'epoch', c.epoch)
    redis.call('DEL', c.log, c.state, c.reopens and c.result or c.seen)
  end
  if c.past then
    redis.call('HSET', c.state, 'past', c.past)
  end
end

-- The events themselves. For most appends this is the first write: Redis refuses it when it is out of memory,
-- and where the log's key holds something else.
local function add(c, kind)
  local from = 1
  if not c.whole then
    local id = string.format('%.0f-0', c.first)
    if redis.call('XADD', c.log, 'NOMKSTREAM', id, 'line', ARGV[EVENTS + count], 'event_id', ARGV[EVENTS]) then
      from = 2
    else
      -- No log where there is a state: it was evicted, or deleted.
      c.whole, c.renews, c.anew = true, true, true
      if kind.prepare then
        kind.prepare(c)
      end
    end
  end
  for i = from, count do
    redis.call('XADD', c.log, string.format('%.0f-0', c.first + i - 1),
      'line', ARGV[EVENTS + count + i - 1], 'event_id', ARGV[EVENTS + i - 1])
  end
end

-- Notes where the log stands, with what its kind adds.
local function note(c, kind, at, ...)
  if c.renews then
    c.renewed = at
  end
  if c.whole then
    if c.run == '' then
      c.run, c.aof = this_run()
    end
    redis.call('HSET', c.state, 'epoch', c.epoch, 'sequence', c.sequence, 'fold', c.fold,
      'latest', c.latest, 'ended', c.ended and '1' or '0', 'listed', c.listed, 'run', c.run,
      'aof', c.aof, 'renewed', string.format('%.0f', c.renewed), 'own', kind.own, ...)
    if c.base ~= '' then
      redis.call('HSET', c.state, 'base', c.base)
    end
    return
  end
  redis.call('HSET', c.state, 'sequence', c.sequence, 'fold', c.fold, 'latest', c.latest, ...)
  if c.run ~= c.noted_run or c.aof ~= c.noted_aof then
    redis.call('HSET', c.state, 'run', c.run, 'aof', c.aof)
  end
end

-- Notes which events were seen.
local function remember(c)
  local before = (c.past_epochs or 0) * EPOCH + c.first - 1
  local seen = {}
  for i = 1, count do
    seen[2 * i - 1], seen[2 * i] = string.format('%.0f', before + i), ARGV[EVENTS + i - 1]
  end
  redis.call('ZADD', c.seen, unpack(seen))
  if c.past_epochs or c.place > c.remembered then
    redis.call('ZREMRANGEBYRANK', c.seen, 0, -(c.remembered + 2))
  end
end

-- Notes that this was the latest commit of its bucket. An append doesn't fail for want of this note.
local function stamp(c)
  redis.pcall('HSET', c.stamps, c.bucket, c.job_id .. ' ' .. c.epoch .. '-' .. c.sequence)
end

-- Writes the events, and where the log stands with them.
local function append(c, kind, at, ...)
  add(c, kind)
  note(c, kind, at, ...)
  stamp(c)
  trim(c)
  remember(c)
  if c.renews then
    redis.call('PEXPIRE', c.log, c.ttl)
    redis.call('PEXPIRE', c.state, c.ttl)
    redis.call('PEXPIRE', c.seen, c.ttl)
  end
  if c.cached ~= '' then
    redis.call('SET', c.result, c.cached, 'PX', c.result_ttl)
  end
end

-- To our own programs first, so that they know the event when its public copy comes.
local function announce(c)
  if c.sealed ~= '' then
    -- Without a right to this channel all is announced as if there were no secret.
    redis.pcall('PUBLISH', c.sealed_channel, c.sealed)
  end
  if c.every_job == '' then
    return
  end
  for i = EVENTS + count, EVENTS + 2 * count - 1 do
    redis.call('PUBLISH', c.every_job, ARGV[i])
    redis.call('PUBLISH', c.one_job, ARGV[i])
  end
end
