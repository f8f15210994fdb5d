-- Where the arguments of a commit are: what each has in its place, its events at last, their ids and then their
-- lines. What belongs to one kind of job comes behind.
local EVENTS = 27
local count = tonumber(ARGV[2])
-- Where the arguments of the kind begin.
local KIND = EVENTS + 2 * count
