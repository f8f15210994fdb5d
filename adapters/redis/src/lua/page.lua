-- One page of the records that indexes list, as each script that lists reads it. Index scores are negated
-- creation times, so that ascending order is newest first, ties by id.
-- KEYS: retention index, then the script's. ARGV: offset, page size, record prefix, retention, then the script's.

local offset, size = tonumber(ARGV[1]), tonumber(ARGV[2])

-- Answers how many match, then the bodies of the page. `find_page` says how many match, which ids the page has,
-- and by which indexes they are listed; `read_body` reads one, a table where it can't be read.
--
-- An index may list what is no longer there. It is taken out and the page read again, so that no page
-- leaves out what the next one then begins behind.
local function read_page(find_page, read_body)
  if tonumber(ARGV[4]) > 0 then
    purge(KEYS[1], now())
  end
  local answer
  for _ = 1, 10 do
    local total, ids, indexes = find_page()
    answer = { total }
    local gone = 0
    for _, id in ipairs(ids) do
      -- Of another type: it is there, and can't be read.
      local body = read_body(ARGV[3] .. id)
      if type(body) == 'table' then
        answer[#answer + 1] = ''
      elseif body then
        answer[#answer + 1] = body
      else
        for _, index in ipairs(indexes) do
          redis.call('ZREM', index, id)
        end
        gone = gone + 1
      end
    end
    if gone == 0 then
      break
    end
  end
  return answer
end
