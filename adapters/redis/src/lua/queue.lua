-- What becomes of a job's place in the queue with an append.

local function queue_effect(c, at)
  if c.effect == 'requeue' then
    local attempts = tonumber(on('hash', 'HGET', c.entry, 'attempts')) or 0
    attempts = string.format('%.0f', attempts + (c.counts and 1 or 0))
    redis.call('HSET', c.entry, 'attempts', attempts, 'client', c.client, 'priority', c.priority)
    redis.call('HDEL', c.entry, 'token', 'worker', 'until')
    on('zset', 'ZREM', c.leases, c.job_id)
    wait(order_of(c.ready), c.job_id, c.client, c.priority, at + c.after, at)
  elseif c.effect == 'remove' then
    redis.call('DEL', c.entry)
    on('zset', 'ZREM', c.leases, c.job_id)
    if c.fence ~= 'held' then
      wait_no_more(order_of(c.ready), c.job_id, c.client)
    end
  end
end
