-- One page of the records that an index lists.
-- KEYS: retention index, an index by last change, the index.
-- ARGV: offset, page size, record prefix, retention, changed since (empty: ever), how many changes
-- are looked at.
-- Answers how many match, then the bodies of the page.

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

local function find_page()
  if ARGV[5] == '' then
    local total = on('zset', 'ZCARD', KEYS[3])
    return total, redis.call('ZRANGE', KEYS[3], offset, offset + size - 1), { KEYS[3] }
  end
  local ids = changed_since(ARGV[5], ARGV[6])
  local page = {}
  for i = offset + 1, math.min(#ids, offset + size) do
    page[#page + 1] = ids[i]
  end
  return #ids, page, { KEYS[3] }
end

return read_page(find_page, function(key)
  return redis.pcall('HGET', key, 'body')
end)
