-- Where logs end. KEYS: the state of each. Answers epoch and sequence of each, or nothing twice where
-- there is no log, or where somebody else has written to its key.

local answer = {}
for i, key in ipairs(KEYS) do
  local state = redis.pcall('HMGET', key, 'epoch', 'sequence')
  answer[2 * i - 1] = state[1] or false
  answer[2 * i] = state[2] or false
end
return answer
