-- One page of the records that an index lists. Index scores are negated creation times, so that
-- ascending order is newest first, ties by id.
-- KEYS: retention index, an index by last change, the index.
-- ARGV: offset, page size, record prefix, retention, changed since (empty: ever), how many changes
-- are looked at.
-- Answers how many match, then the bodies of the page.

local offset, size, prefix = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
if tonumber(ARGV[4]) > 0 then
  purge(KEYS[1], now())
end

-- The newest changes only: a moment long ago must not make Redis walk all that it has.
local function changed_since(since, most)
  local latest = on('zset', 'ZRANGE', KEYS[2], '+inf', since, 'BYSCORE', 'REV', 'LIMIT', 0, most)
  if #latest == 0 then
    return latest
  end
  local found = {}
  for i, score in ipairs(on('zset', 'ZMSCORE', KEYS[3], unpack(latest))) do
    if score then
      found[#found + 1] = { tonumber(score), latest[i] }
    end
  end
  table.sort(found, function(a, b)
    if a[1] ~= b[1] then return a[1] < b[1] end
    return a[2] < b[2]
  end)
  local ids = {}
  for i, pair in ipairs(found) do ids[i] = pair[2] end
  return ids
end

local function ids_of_page()
  if ARGV[5] == '' then
    return on('zset', 'ZCARD', KEYS[3]), redis.call('ZRANGE', KEYS[3], offset, offset + size - 1)
  end
  local ids = changed_since(ARGV[5], ARGV[6])
  local page = {}
  for i = offset + 1, math.min(#ids, offset + size) do
    page[#page + 1] = ids[i]
  end
  return #ids, page
end

-- An index may list what is no longer there. It is taken out and the page read again, so that no page
-- leaves out what the next one then begins behind.
local answer
for _ = 1, 10 do
  local total, page = ids_of_page()
  answer = { total }
  local gone = 0
  for _, id in ipairs(page) do
    -- Of another type: it is there, and can't be read.
    local body = redis.pcall('HGET', prefix .. id, 'body')
    if type(body) == 'table' then
      answer[#answer + 1] = ''
    elseif body then
      answer[#answer + 1] = body
    else
      redis.call('ZREM', KEYS[3], id)
      gone = gone + 1
    end
  end
  if gone == 0 then
    break
  end
end
return answer
