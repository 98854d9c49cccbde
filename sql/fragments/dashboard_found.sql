-- The columns of a run by which the dashboard filters and orders.
--
-- Needs: rows of workflow_runs.
-- Index: none; this reads no table.
id, created_at, status, workflow_name, version, finished_at, idempotency_key
