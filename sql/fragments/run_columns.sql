-- The columns of a run as clients read it.
--
-- Needs: r, a row of workflow_runs; p and f of fragments/run_links. $1 namespace.
-- Index: that of fragments/attributes_of_run.
    r.id, r.workflow_name, r.version, r.status, r.attempts, r.idempotency_key, r.input::text,
    r.output::text, r.error::text, r.worker_id, r.available_at, r.deadline_at, r.created_at,
    r.started_at, r.finished_at, r.updated_at, least(r.started_at, f.began_at),
    p.workflow_run_id, p.step_name, r.context ->> 'continuedFrom', r.context ->> 'continuedAs',
    r.context ->> 'rerunOf', r.context ->> 'rerunAs', r.config -> 'owsuper' ->> 'priority',
    {fragments/attributes_of_run},
    r.context ->> 'undoOf', r.context ->> 'undoneBy'
