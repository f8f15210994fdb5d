-- One page of the templates that any of several indexes lists, each of them in one.
-- KEYS: retention index, the indexes. ARGV: offset, page size, record prefix, retention.
-- Answers how many match, then the bodies of the page.

-- How many before the page are looked at one by one; further ones are counted.
local NEAR = 60

-- The indexes that list any, and how many all of them list.
local function listing()
  local total, indexes = 0, {}
  for i = 2, #KEYS do
    local listed = on('zset', 'ZCARD', KEYS[i])
    if listed > 0 then
      total = total + listed
      indexes[#indexes + 1] = KEYS[i]
    end
  end
  return total, indexes
end

-- The least and the greatest score in any of these indexes.
local function ends(indexes)
  local least, greatest = math.huge, -math.huge
  for _, index in ipairs(indexes) do
    least = math.min(least, tonumber(redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2]))
    greatest = math.max(greatest, tonumber(redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2]))
  end
  return least, greatest
end

-- A score shortly before the page, and how many stand before that. Looked for by halves.
local function shortly_before(indexes)
  if offset <= NEAR then
    return '-inf', 0
  end
  local low, high = ends(indexes)
  local before = 0
  high = high + 1
  while high - low > 1 and offset - before > NEAR do
    local middle = math.floor((low + high) / 2)
    local text = string.format('(%.0f', middle)
    local counted = 0
    for _, index in ipairs(indexes) do
      counted = counted + redis.call('ZCOUNT', index, '-inf', text)
    end
    if counted <= offset then
      low, before = middle, counted
    else
      high = middle
    end
  end
  return string.format('%.0f', low), before
end

-- The ids of the page.
local function page_of(indexes)
  local from, before = shortly_before(indexes)
  local wanted = offset - before + size
  local runs, next_in = {}, {}
  for i, index in ipairs(indexes) do
    runs[i] = redis.call('ZRANGE', index, from, '+inf', 'BYSCORE', 'LIMIT', 0, wanted, 'WITHSCORES')
    next_in[i] = 1
  end
  local page = {}
  for n = 1, wanted do
    local first, first_score
    for i, run in ipairs(runs) do
      local id = run[next_in[i]]
      local score = id and tonumber(run[next_in[i] + 1])
      if id and (not first or score < first_score
        or score == first_score and id < runs[first][next_in[first]]) then
        first, first_score = i, score
      end
    end
    if not first then
      break
    end
    if n > offset - before then
      page[#page + 1] = runs[first][next_in[first]]
    end
    next_in[first] = next_in[first] + 2
  end
  return page
end

return read_page(function()
  local total, indexes = listing()
  return total, total > offset and page_of(indexes) or {}, indexes
end, body_of)
