-- Where the templates of a commit to a job of ours are among its arguments, and how many there are.
local TEMPLATES = KIND + 5
local templates_count = tonumber(ARGV[KIND + 4])
-- Where the first template is: its id, place, score and two indexes.
local FIRST_TEMPLATE = TEMPLATES + 4
-- Where the records begin that the job's needs.
local NEEDS = TEMPLATES + (templates_count > 0 and 4 + 5 * templates_count or 0)
