-- The next job, for a worker: the first one of the client whose turn it is; or what the same claim was given
-- before, when its answer was lost. Takes entries out that no worker can do anything about: the job has ended, or neither
-- its log nor its record is there any more. Sets keys aside that something else has written to.
-- KEYS: ready, leases. ARGV: entry, state and record prefixes, token, worker, duration, the name of the
-- claim.
-- Answers the fold of the job's log (empty: there is none), and then in a list job and attempt (both empty: none
-- is due) and the keys that were set aside.

local ready, leases, token = KEYS[1], KEYS[2], ARGV[4]
local at = now()
-- What was set aside is told of by the claim that did so, and by one that has nothing else to say.
local function answer(fold, id, attempt)
  local told = (id == '' or has_set_aside) and unreported(ready) or {}
  table.insert(told, 1, id)
  table.insert(told, 2, attempt)
  return { fold or '', told }
end
local function claimed(id, entry, fold)
  local attempts = tonumber(on('hash', 'HGET', entry, 'attempts')) or 0
  lend(entry, leases, id, at + tonumber(ARGV[6]), 'token', token, 'worker', ARGV[5])
  redis.call('SET', ARGV[7], id, 'PX', math.ceil(tonumber(ARGV[6]) / 1000))
  return answer(fold, id, string.format('%.0f', attempts + 1))
end

local before = redis.call('GET', ARGV[7])
if before then
  set_aside_unless(ARGV[1] .. before, 'hash')
  if holds(ARGV[1] .. before, leases, before, token, at) then
    return claimed(before, ARGV[1] .. before, on('hash', 'HGET', ARGV[2] .. before, 'fold'))
  end
end
local order = order_of(ready)
local names = { entry = ARGV[1], state = ARGV[2], job = ARGV[3] }
promote(order, names, at)
for _ = 1, 100 do
  local id, client, has_more = first_due(order, names, at)
  if not id then
    return answer('', '', '')
  end
  local state = on('hash', 'HMGET', names.state .. id, 'epoch', 'ended', 'fold')
  local alive = state[1] or redis.call('EXISTS', names.job .. id) == 1
  if alive and state[2] ~= '1' then
    end_turn(order, client, has_more)
    return claimed(id, names.entry .. id, state[3])
  end
  redis.call('DEL', names.entry .. id)
end
return answer('', '', '')
