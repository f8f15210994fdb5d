-- A template, if the attempt that made it holds its lease and its place is free.
-- KEYS: record, retention index, places, entry, leases, indexes.
-- ARGV: job, token, place, record prefix, places TTL (0: none), then the record.
-- Answers stored, fenced, or taken with the body that stays.

local places = KEYS[3]
local record = record_from(KEYS[1], KEYS[2], 6, 6)
local at = now()
if not holds(KEYS[4], KEYS[5], ARGV[1], ARGV[2], at) then
  return { 'fenced' }
end
local holder = redis.call('HGET', places, ARGV[3])
if holder then
  local body = redis.pcall('HGET', ARGV[4] .. holder, 'body')
  -- One that can't be read gives its place to the next.
  local readable = type(body) == 'string' and pcall(cjson.decode, body)
  if readable then
    -- The same one again: its first answer was lost.
    if holder == record.member then
      return { 'stored' }
    end
    return { 'taken', body }
  end
end
redis.call('HSET', places, ARGV[3], record.member)
if ARGV[5] ~= '0' then
  redis.call('PEXPIRE', places, ARGV[5])
end
put_record(record, at)
return { 'stored' }
