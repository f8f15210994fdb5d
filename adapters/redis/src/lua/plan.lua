-- A job's templates in the order of its plan. KEYS: places. ARGV: record prefix. Answers bodies.

local flat = redis.call('HGETALL', KEYS[1])
local places = {}
for i = 1, #flat, 2 do
  places[#places + 1] = { tonumber(flat[i]), flat[i + 1] }
end
table.sort(places, function(a, b) return a[1] < b[1] end)
local answer = {}
for _, place in ipairs(places) do
  local body = body_of(ARGV[1] .. place[2])
  -- Of another type: it is there, and can't be read.
  if type(body) == 'table' then
    answer[#answer + 1] = ''
  elseif body then
    answer[#answer + 1] = body
  end
end
return answer
