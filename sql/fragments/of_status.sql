-- Whether a run has status s.status, said so that its index is used.
--
-- Where the planner has seen runs of one status only, as in a young table or where nearly all have
-- ended well, it takes "status = s.status" to be true of every run. Then it goes through the runs of
-- all statuses by created_at, in an index that is smaller and has the same order. Of a range it
-- assumes that few runs are in it, whatever it has seen.
--
-- Needs: workflow_runs as the only table with a status besides s.
-- Index: workflow_runs_status_created_at_desc_idx.
status = s.status AND status >= s.status AND status <= s.status
