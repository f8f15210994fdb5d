-- A job's fold and its kept events, of one moment. KEYS: log, state. ARGV: after, limit.
-- Answers nothing, or fold, sequence of the oldest kept event, the fold before that one where it is
-- asked for (else empty), and then sequence and line of each event.

local after, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local state = redis.call('HMGET', KEYS[2], 'fold', 'sequence')
if not state[1] then
  return false
end
local function sequence_of(entry)
  return string.match(entry[1], '^(%d+)')
end
-- Fields come back as a flat list: line, its value, event_id, its value.
local function line_of(entry)
  return entry[2][2]
end

local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local oldest = first and sequence_of(first) or string.format('%.0f', tonumber(state[2]) + 1)
local answer = { state[1], oldest, '' }
if limit > 0 and after < tonumber(oldest) then
  -- Where the events are gone, evicted perhaps, all there is before what comes next is the fold.
  answer[3] = first and (redis.call('HGET', KEYS[2], 'base') or '') or state[1]
end
if limit > 0 then
  local entries = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1] .. '-0', '+', 'COUNT', ARGV[2])
  for _, entry in ipairs(entries) do
    answer[#answer + 1] = sequence_of(entry)
    answer[#answer + 1] = line_of(entry)
  end
end
return answer
