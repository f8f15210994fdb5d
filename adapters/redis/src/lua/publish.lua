-- One event into its job's log, with all that belongs to it.
-- Answers the outcome's name, and for a duplicate or a conflict the epoch and sequence.

local commit = read_commit()
local at = now()
local refused = refusal(commit, at)
if refused then
  return refused
end
append(commit, at)
announce(commit)
return { 'appended' }
