-- One page of the records that every given index lists. Index scores are negated creation times, so
-- that ascending order is newest first, ties by id.
-- KEYS: retention index, an index by last change, indexes.
-- ARGV: offset, page size (negative: all), record prefix, changed since (empty: ever), retention.
-- Answers how many match, then the bodies of the page.

local offset, size, prefix, since = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
if tonumber(ARGV[5]) > 0 then
  purge(KEYS[1], now())
end

local function changed_since()
  local found = {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], since, '+inf')) do
    local score
    for i = 3, #KEYS do
      score = tonumber(redis.call('ZSCORE', KEYS[i], id))
      if not score then break end
    end
    if score then
      found[#found + 1] = { score, id }
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

local function in_all()
  local call = { 'ZINTER', #KEYS - 2 }
  for i = 3, #KEYS do call[#call + 1] = KEYS[i] end
  call[#call + 1] = 'AGGREGATE'
  call[#call + 1] = 'MIN'
  return redis.call(unpack(call))
end

local total, page
if since == '' and #KEYS == 3 then
  total = redis.call('ZCARD', KEYS[3])
  page = redis.call('ZRANGE', KEYS[3], offset, size < 0 and -1 or offset + size - 1)
else
  local ids = since == '' and in_all() or changed_since()
  total = #ids
  page = {}
  for i = offset + 1, size < 0 and total or math.min(total, offset + size) do
    page[#page + 1] = ids[i]
  end
end

local answer = { total }
for _, id in ipairs(page) do
  local body = redis.call('HGET', prefix .. id, 'body')
  if body then
    answer[#answer + 1] = body
  end
end
return answer
