-- Events into the log of a job of ours, with all that belongs to it.
-- Answers the outcome's name, and for a duplicate or a conflict the epoch and sequence.

local commit = read_commit()
local at = now()
local refused = refusal(commit, own, at)
if refused then
  return refused
end
append_own(commit, at)
announce(commit)
return { 'appended' }
