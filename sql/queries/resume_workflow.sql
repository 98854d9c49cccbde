-- End the pause of a workflow, and tell all workers.
--
-- Called by: clients, PauseQueries.resume. $1 namespace, $2 name of the workflow, $3 channel of the
-- workers, $4 payload.
-- Returns (name, since, by, reason) of the pause that ended, and the notification; no row if the
-- workflow was not paused.
--
-- Index: owsuper_paused_workflows_pkey. Locks: the row; the commit waits for others that notify.
WITH resumed AS (
    DELETE FROM {schema}.owsuper_paused_workflows AS p
    WHERE p.namespace_id = $1 AND p.workflow_name = $2
    RETURNING p.workflow_name, p.paused_at, p.paused_by, p.reason
)
SELECT r.workflow_name, r.paused_at, r.paused_by, r.reason, pg_notify($3, $4)::text
FROM resumed AS r
