-- A template, if the attempt that made it holds its lease and its place is free.
-- KEYS: record, retention index, places, entry, leases, indexes.
-- ARGV: job, token, place, record prefix, places TTL (0: none), id, body, retention, score, then the records
-- that this one needs.
-- Answers stored, fenced, or taken with the body that stays.

local template = { id = ARGV[6], key = KEYS[1], place = ARGV[3], score = ARGV[9], indexes = {} }
for i = 6, #KEYS do
  template.indexes[i - 5] = KEYS[i]
end
local kept = { places = KEYS[3], lifetime = ARGV[5], expiry = KEYS[2], retention = tonumber(ARGV[8]) }
local at = now()
if not holds(KEYS[4], KEYS[5], ARGV[1], ARGV[2], at) then
  return { 'fenced' }
end
local other, body = taken(kept.places, ARGV[4], { template })
if other then
  return { 'taken', body }
end
redis.call('SET', template.key, ARGV[7])
keep(kept, { template }, at)
if kept.retention > 0 then
  -- The entry of an earlier build, by which what it takes out is a hash.
  redis.call('ZREM', kept.expiry, template.key)
  need(kept.expiry, at + kept.retention, { unpack(ARGV, 10) })
  purge(kept.expiry, at)
end
return { 'stored' }
