-- Whose turn it is, for a claim and for the sweep: what the indexes lack is put back, what they list in vain
-- is taken out.

-- What is known of a job from its record: its client, its priority, and when it may run.
local function recorded(names, id)
  local body = on('hash', 'HGET', names.job .. id, 'body') or on('hash', 'HGET', names.state .. id, 'fold')
  local read, job = pcall(cjson.decode, body or '')
  if not read or type(job) ~= 'table' then
    return { client = '', priority = '', run_at = 0 }
  end
  local fold = type(job._fold) == 'table' and job._fold or {}
  return {
    client = type(job.client_id) == 'string' and is_id(job.client_id) and job.client_id or '',
    priority = tonumber(job.priority) or '',
    run_at = tonumber(fold.run_at_us) or 0,
  }
end

-- Whose job it is, and its priority, as its entry says, or its record: an earlier build noted neither there.
local function claimant_of(names, id)
  local entry = names.entry .. id
  local noted = on('hash', 'HMGET', entry, 'client', 'priority')
  if noted[1] then
    return noted[1], noted[2]
  end
  local job = recorded(names, id)
  if redis.call('EXISTS', entry) == 1 then
    redis.call('HSET', entry, 'client', job.client, 'priority', job.priority)
  end
  return job.client, job.priority
end

-- Lets jobs whose time has come wait for their clients' turns.
local function promote(order, names, at)
  local due = on('zset', 'ZRANGE', order.later, '-inf', at, 'BYSCORE', 'LIMIT', 0, MOST_PROMOTED)
  for _, id in ipairs(due) do
    local since = on('zset', 'ZSCORE', order.ready, id)
    if since and tonumber(since) > at then
      redis.call('ZADD', order.later, since, id)
    else
      redis.call('ZREM', order.later, id)
      if since then
        local client, priority = claimant_of(names, id)
        await_turn(order, id, client, priority, tonumber(since))
      end
    end
  end
end

-- Lets due jobs that no index lists wait for their clients' turns. Answers whether there were any.
local function adopt(order, names, at)
  local due = on('zset', 'ZRANGE', order.ready, '-inf', at, 'BYSCORE', 'LIMIT', 0, MOST_ADOPTED, 'WITHSCORES')
  if #due == 0 then
    return false
  end
  -- First a write that Redis takes when it is out of memory: it then lets the others through.
  redis.call('PERSIST', order.ready)
  for i = 1, #due, 2 do
    local id = due[i]
    if is_id(id) then
      local client, priority = claimant_of(names, id)
      await_turn(order, id, client, priority, tonumber(due[i + 1]))
    else
      redis.call('ZREM', order.ready, id)
    end
  end
  return true
end

-- Puts back what the indexes lack of a job that waits.
local function ensure_listed(order, names, id, due, at)
  if due > at then
    if not on('zset', 'ZSCORE', order.later, id) then
      redis.call('ZADD', order.later, due, id)
    end
    return
  end
  local client, priority = claimant_of(names, id)
  if not on('zset', 'ZSCORE', order.due .. client, id) or not on('zset', 'ZSCORE', order.clients, client) then
    await_turn(order, id, client, priority, due)
  end
end

-- Takes the first job of the client whose turn it is, among those that wait and are due. Answers the job,
-- the client and whether this one has another; nothing if no job is due. The client's turn isn't over.
local function first_due(order, names, at)
  local adopted = false
  for _ = 1, 100 do
    local client = on('zset', 'ZRANGE', order.clients, 0, 0)[1]
    if not client then
      if adopted or not adopt(order, names, at) then
        return nil
      end
      adopted = true
    else
      local set = order.due .. client
      local first = on('zset', 'ZRANGE', set, 0, 1)
      local id = first[1]
      if not id then
        redis.call('ZREM', order.clients, client)
      else
        redis.call('ZREM', set, id)
        local since = on('zset', 'ZSCORE', order.ready, id)
        if since and tonumber(since) <= at then
          redis.call('ZREM', order.ready, id)
          return id, client, first[2] ~= nil
        elseif since then
          redis.call('ZADD', order.later, since, id)
        end
      end
    end
  end
  return nil
end

-- Ends the turn of the client that is first: its next one is after all others', if it has another job.
local function end_turn(order, client, has_more)
  if not has_more then
    redis.call('ZREM', order.clients, client)
    return
  end
  local last = redis.call('ZRANGE', order.clients, -1, -1, 'WITHSCORES')
  if last[1] ~= client then
    redis.call('ZADD', order.clients, tonumber(last[2]) + 1, client)
  end
end
