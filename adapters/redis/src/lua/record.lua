-- Records of the catalogue. One is a hash: `body` (JSON), `member` (its id) and `indexes` (the
-- sorted sets that list it, separated by blanks). Where a retention is set, `expiry` orders records
-- by the end of theirs; every list and most writes take out what is due, with its index entries. A template
-- is a string: behind its key `expiry` has the names of its indexes.

local function drop_template(key, indexes)
  local id = string.match(key, '[^:]+$')
  for index in string.gmatch(indexes, '%S+') do
    on('zset', 'ZREM', index, id)
  end
  redis.call('DEL', key)
end

local function drop_record(key)
  local found = on('hash', 'HMGET', key, 'member', 'indexes')
  if found[1] and found[2] then
    for index in string.gmatch(found[2], '%S+') do
      on('zset', 'ZREM', index, found[1])
    end
  end
  redis.call('DEL', key)
end

-- At most a hundred at a time, so that no call is slow.
local function purge(expiry, at)
  local due = on('zset', 'ZRANGEBYSCORE', expiry, '-inf', at, 'LIMIT', 0, 100)
  for _, entry in ipairs(due) do
    local key, indexes = string.match(entry, '^(%S+) (.+)$')
    if key then
      drop_template(key, indexes)
    else
      drop_record(entry)
    end
    redis.call('ZREM', expiry, entry)
  end
end

-- Lets the records that another one needs stay until then at least. Never shortened: a job that may run much later
-- may need them.
local function need(expiry, till, touches)
  for _, key in ipairs(touches) do
    redis.call('ZADD', expiry, 'XX', 'GT', till, key)
  end
end

-- Whether as many records as may be are in the index that lists all of a kind, which is a record's
-- first. Counted, never walked; what is due goes first. No script may have written before.
local function is_full(r, most, at)
  local all = r.indexes[1]
  if on('zset', 'ZCARD', all) < most then
    return false
  end
  if r.retention > 0 then
    -- Changes nothing, and is refused when Redis is out of memory: after `purge`, which never is,
    -- Redis would let the writes of a record through.
    on('zset', 'ZADD', r.expiry, 'XX', 0, '')
    purge(r.expiry, at)
  end
  return redis.call('ZCARD', all) >= most
end

-- r: key, expiry, indexes, scores, member, body, retention (microseconds, 0: for ever),
-- touches (records that this one needs: their retention begins anew), stays (whether the indexes that it was
-- in before, but for the last one, can be taken to have it still)
local function put_record(r, at)
  local before = on('hash', 'HGET', r.key, 'indexes') or ''
  local had, listed = {}, {}
  for index in string.gmatch(before, '%S+') do
    had[index] = true
  end
  for position, index in ipairs(r.indexes) do
    listed[index] = true
    if not (r.stays and had[index] and position < #r.indexes) then
      on('zset', 'ZADD', index, r.scores[position], r.member)
    end
  end
  for index in pairs(had) do
    if not listed[index] then
      on('zset', 'ZREM', index, r.member)
    end
  end
  redis.call('HSET', r.key, 'body', r.body, 'member', r.member,
    'indexes', table.concat(r.indexes, ' '))
  if r.retention > 0 then
    on('zset', 'ZADD', r.expiry, at + r.retention, r.key)
    need(r.expiry, at + r.retention, r.touches)
    purge(r.expiry, at)
  end
end

-- Reads a record's indexes from KEYS and its numbers and text from ARGV, both from these places on.
-- ARGV: member, body, retention, number of indexes, their scores, touches.
local function record_from(key, expiry, key_from, argument_from)
  local r = {
    key = key,
    expiry = expiry,
    member = ARGV[argument_from],
    body = ARGV[argument_from + 1],
    retention = tonumber(ARGV[argument_from + 2]),
    indexes = {},
    scores = {},
    touches = {},
  }
  local count = tonumber(ARGV[argument_from + 3])
  for i = 1, count do
    r.indexes[i] = KEYS[key_from + i - 1]
    r.scores[i] = ARGV[argument_from + 3 + i]
  end
  for i = argument_from + 4 + count, #ARGV do
    r.touches[#r.touches + 1] = ARGV[i]
  end
  return r
end
