-- Where jobs stand in the queue, in numbers of which a place is worked out. Changes nothing.
-- No KEYS: Redis would ask for a right to write to them.
-- ARGV: ready, clients, entry prefix, prefix of each client's due jobs, of how many clients at most the jobs
-- are counted, then the jobs.
-- Answers how many jobs wait, how many clients have a due one, of how many the jobs are counted, these
-- counts in the order of the turns, then for each job the turns and the client's own jobs before it, or -1
-- twice where it isn't due.

-- What can't be read is absent; that it may not be read is told.
local function look(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then
    if string.find(answer.err, 'WRONGTYPE', 1, true) then
      return nil
    end
    error(answer)
  end
  return answer
end

local ready, clients, entry, due, most = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local number = look('ZCARD', clients) or 0
local answer = { look('ZCARD', ready) or 0, number, 0 }
local turns = {}
if number <= most then
  for turn, client in ipairs(look('ZRANGE', clients, 0, -1) or {}) do
    turns[client] = turn - 1
    answer[#answer + 1] = look('ZCARD', due .. client) or 0
    answer[3] = turn
  end
end
local waits = look('ZMSCORE', ready, select(6, unpack(ARGV))) or {}
for i = 6, #ARGV do
  local turn, ahead = -1, -1
  if waits[i - 5] then
    local client = look('HGET', entry .. ARGV[i], 'client')
    if client and not turns[client] and number > most then
      turns[client] = look('ZRANK', clients, client)
    end
    local rank = client and turns[client] and look('ZRANK', due .. client, ARGV[i])
    if rank then
      turn, ahead = turns[client], rank
    end
  end
  answer[#answer + 1] = turn
  answer[#answer + 1] = ahead
end
return answer
