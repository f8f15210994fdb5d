-- A record of the catalogue. KEYS: record, retention index, a record that must be there, indexes.
-- ARGV: whether one must be there, the body that this one replaces (empty: any), then the record.
-- Answers stored, absent or changed.

local record = record_from(KEYS[1], KEYS[2], 4, 3)
expect_record(record)
if ARGV[1] == '1' and redis.call('EXISTS', KEYS[3]) == 0 then
  return 'absent'
end
if ARGV[2] ~= '' and redis.call('HGET', KEYS[1], 'body') ~= ARGV[2] then
  return 'changed'
end
put_record(record, now())
return 'stored'
