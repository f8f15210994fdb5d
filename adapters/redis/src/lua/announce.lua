-- An announcement by itself, on the channels on which an append is announced.
-- KEYS none; ARGV: channel of every event, channel of the job's events, line.

redis.call('PUBLISH', ARGV[1], ARGV[3])
redis.call('PUBLISH', ARGV[2], ARGV[3])
