-- Pause a workflow, and tell all workers.
--
-- Called by: clients, PauseQueries.pause. $1 namespace, $2 name of the workflow, $3 by whom, $4 why
-- (both may be NULL), $5 channel of the workers, $6 payload.
-- Returns (name, since, by, reason) as stored, and the notification. A workflow that is paused
-- already stays so since then, with the new reason.
--
-- Index: owsuper_paused_workflows_pkey. Locks: the row; the commit waits for others that notify.
WITH paused AS (
    INSERT INTO {schema}.owsuper_paused_workflows AS p (
        namespace_id, workflow_name, paused_by, reason
    )
    VALUES ($1, $2, $3, $4)
    ON CONFLICT (namespace_id, workflow_name) DO UPDATE
    SET paused_by = excluded.paused_by, reason = excluded.reason
    RETURNING p.workflow_name, p.paused_at, p.paused_by, p.reason
)
SELECT p.workflow_name, p.paused_at, p.paused_by, p.reason, pg_notify($5, $6)::text
FROM paused AS p
