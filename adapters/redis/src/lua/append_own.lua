-- Events into the log of a job of ours, with all that belongs to it.
-- Answers the outcome's name, and for a duplicate or a conflict the epoch and sequence.

local commit = read_commit()
if moved_at then
  commit.anew = true
  put_record(record_of(commit), moved_at)
  if templates_count > 0 then
    local templates, kept = templates_of()
    keep(kept, templates, moved_at)
  end
  announce(commit)
  return { 'appended' }
end
local at = now()
local refused = refusal(commit, own, at)
if refused then
  return refused
end
append_own(commit, at)
announce(commit)
return { 'appended' }
