-- A record of the catalogue. KEYS: record, retention index, a record that must be there, indexes.
-- ARGV: whether one must be there, the body that this one replaces (empty: any), how many there may
-- be of its kind, then the record.
-- Answers stored, absent, changed or full.

local record = record_from(KEYS[1], KEYS[2], 4, 4)
local at = now()
if ARGV[1] == '1' and redis.call('EXISTS', KEYS[3]) == 0 then
  return 'absent'
end
if ARGV[2] ~= '' and on('hash', 'HGET', KEYS[1], 'body') ~= ARGV[2] then
  return 'changed'
end
if redis.call('EXISTS', KEYS[1]) == 0 and is_full(record, tonumber(ARGV[3]), at) then
  return 'full'
end
put_record(record, at)
return 'stored'
