-- The usual append, before all else: the holder of a lease moves its job on, and nothing about the job changes but
-- its state. Half of what an append costs in Redis is the making of the functions that the others need. It is
-- done in whole only where each look finds what is usual; else nothing is written, and what follows looks anew.
-- Never in here: a write before the last look, an answer but `appended`.

-- When it was done, if the record or an index was not as it was written: the rest of it is then put back.
local moved_at

-- The keys of the templates, if each place is free and each body there.
local function free_templates()
  local keys, places = {}, {}
  for i = 1, templates_count do
    local at = FIRST_TEMPLATE + 5 * (i - 1)
    keys[i], places[i] = ARGV[TEMPLATES + 2] .. ARGV[at], ARGV[at + 1]
  end
  local holders = redis.pcall('HMGET', ARGV[TEMPLATES], unpack(places))
  for i = 1, templates_count do
    if holders.err or holders[i] then
      return nil
    end
  end
  return redis.call('EXISTS', unpack(keys)) == templates_count and keys or nil
end

-- Whether all that an append looks at is as usual; and then the moment, the place before it, and the keys of its
-- templates.
local function is_usual()
  local state = redis.call('HMGET', KEYS[2], 'epoch', 'sequence', 'ended', 'run', 'aof', 'mark', 'latest',
    'listed', 'renewed')
  local place = tonumber(ARGV[4])
  local before = place - count
  if state[1] ~= ARGV[3] or tonumber(state[2]) ~= before or state[3] ~= '0'
    -- In this run of Redis, and nothing of it is written anew or cut off.
    or ARGV[21] == '' or state[4] ~= ARGV[21] or state[5] ~= ARGV[22]
    or not state[7] or state[8] ~= ARGV[13]
    or place - tonumber(state[6] or 0) >= tonumber(ARGV[16]) or place > tonumber(ARGV[17]) then
    return false
  end
  local time = redis.call('TIME')
  local at = tonumber(time[1]) * 1000000 + tonumber(time[2])
  if at >= (tonumber(state[9]) or 0) + tonumber(ARGV[19]) then
    return false
  end
  local lease = redis.pcall('HMGET', ARGV[10], 'token', 'until')
  if lease.err or lease[1] ~= ARGV[9] or (tonumber(lease[2] or 0) or 0) <= at then
    return false
  end
  local scores = redis.call('ZMSCORE', KEYS[3], state[7], unpack(ARGV, EVENTS, EVENTS + count - 1))
  if tonumber(scores[1] or -1) ~= before then
    return false
  end
  for i = 2, count + 1 do
    if scores[i] then
      return false
    end
  end
  local keys = templates_count > 0 and free_templates()
  return keys ~= nil, at, before, keys
end

-- Keeps the templates; answers whether an index has to be put back.
local function keep_free(keys, at)
  local held, lost = {}, false
  local retention = ARGV[TEMPLATES + 3]
  for i, key in ipairs(keys) do
    local id, place, score, index, of_client =
      unpack(ARGV, FIRST_TEMPLATE + 5 * (i - 1), FIRST_TEMPLATE + 5 * i - 1)
    redis.call('PERSIST', key)
    lost = type(redis.pcall('ZADD', index, score, id)) ~= 'number' or lost
    lost = type(redis.pcall('ZADD', of_client, score, id)) ~= 'number' or lost
    if retention ~= '0' then
      local due = key .. ' ' .. index .. ' ' .. of_client
      lost = type(redis.pcall('ZADD', ARGV[KIND + 3], at + tonumber(retention), due)) ~= 'number' or lost
    end
    held[2 * i - 1], held[2 * i] = place, id
  end
  redis.call('HSET', ARGV[TEMPLATES], unpack(held))
  if ARGV[TEMPLATES + 1] ~= '0' then
    redis.call('PEXPIRE', ARGV[TEMPLATES], ARGV[TEMPLATES + 1])
  end
  return lost
end

-- Held, with no base and nothing in the JSON object.
if ARGV[8] == 'held' and ARGV[7] == '' and ARGV[20] == '' then
  local usual, at, before, keys = is_usual()
  local first = string.format('%.0f-0', (before or 0) + 1)
  -- The first write, as in `add`: where there is no log, it isn't one.
  if usual and redis.call('XADD', KEYS[1], 'NOMKSTREAM', first, 'line', ARGV[EVENTS + count], 'event_id', ARGV[EVENTS]) then
    local seen = { before + 1, ARGV[EVENTS] }
    for i = 2, count do
      redis.call('XADD', KEYS[1], string.format('%.0f-0', before + i),
        'line', ARGV[EVENTS + count + i - 1], 'event_id', ARGV[EVENTS + i - 1])
      seen[2 * i - 1], seen[2 * i] = before + i, ARGV[EVENTS + i - 1]
    end
    redis.call('HSET', KEYS[2], 'sequence', ARGV[4], 'fold', ARGV[5], 'latest', ARGV[EVENTS + count - 1])
    redis.pcall('HSET', ARGV[25], ARGV[26], ARGV[1] .. ' ' .. ARGV[3] .. '-' .. ARGV[4])
    redis.call('ZADD', KEYS[3], unpack(seen))
    local lost = redis.pcall('HSET', ARGV[12], 'body', ARGV[5]) ~= 0
    lost = type(redis.pcall('ZADD', KEYS[#KEYS], ARGV[KIND + 1], ARGV[1])) ~= 'number' or lost
    lost = keys and keep_free(keys, at) or lost
    if not lost then
      if ARGV[24] ~= '' then
        redis.pcall('PUBLISH', ARGV[23], ARGV[24])
      end
      if ARGV[14] ~= '' then
        for i = EVENTS + count, EVENTS + 2 * count - 1 do
          redis.call('PUBLISH', ARGV[14], ARGV[i])
          redis.call('PUBLISH', ARGV[15], ARGV[i])
        end
      end
      return { 'appended' }
    end
    moved_at = at
  end
end
