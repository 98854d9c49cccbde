-- Parents that wait for child runs.
--
-- The step attempts that wait, of each parent: to find parents that nobody woke, and to know how
-- many children a parent still waits for. A step attempt leaves this index when it ends.
CREATE INDEX IF NOT EXISTS owsuper_child_waits_idx
    ON {schema}.step_attempts (namespace_id, workflow_run_id, id)
    WHERE kind = 'workflow' AND status = 'running';

-- How long the wake-up of a parent is delayed that still waits for ``open`` other child runs. A
-- parent that is woken for each of a thousand replays its history a thousand times; the delay gives
-- those that end meanwhile one replay together. The replay of 900 finished steps takes some 10 ms
-- (see benchmarks/RESULTS.md), so that a parent spends less than a hundredth of its wait on replays.
CREATE OR REPLACE FUNCTION {schema}.owsuper_wake_delay(open bigint) RETURNS interval
LANGUAGE sql IMMUTABLE AS $function$
    SELECT least(open, 500) * interval '4 ms'
$function$;

-- How many of the youngest 64 child runs that a parent waits for have not ended, without those
-- in ``ended``; 33 for more.
CREATE OR REPLACE FUNCTION {schema}.owsuper_open_children(
    namespace text, parent text, ended text[]
) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $function$
BEGIN
    RETURN pg_catalog.count(*)
    FROM (
        SELECT
        FROM (
            SELECT s.child_workflow_run_id AS child
            FROM {schema}.step_attempts AS s
            WHERE s.namespace_id = namespace AND s.workflow_run_id = parent
                AND s.kind = 'workflow' AND s.status = 'running'
            ORDER BY s.namespace_id DESC, s.workflow_run_id DESC, s.id DESC
            LIMIT 64
        ) AS w
        LEFT JOIN LATERAL (
            SELECT r.status
            FROM {schema}.workflow_runs AS r
            WHERE r.namespace_id = namespace AND r.id >= w.child AND r.id <= w.child
            ORDER BY r.id
            LIMIT 1
        ) AS c ON true
        WHERE w.child IS NULL OR (
            w.child <> ALL (ended)
            AND c.status NOT IN ('completed', 'succeeded', 'failed', 'canceled')
        )
        LIMIT 33
    ) AS open;
END
$function$;

-- When a parked parent is due now that some of its children, ``ended``, have just ended: at once
-- if it waits for no other child run, else after the delay. NULL if that changes nothing.
--
-- The caller holds the locks of the children. So a parent that parks waits for the caller, and
-- sees the end of the children itself. VOLATILE, so that each query here has a new snapshot, which
-- shows what happened before the caller had its locks.
--
-- A parent of OpenWorkflow for TypeScript parks, and looks for children that have ended, without
-- their locks. So the lock of such a parent is taken while it is executed: it parks after the
-- caller has committed. Its worker ids have no colon, ours have several.
--
-- Transactions that end children of one parent would wait for each other's flush to disk if each
-- locked the parent. So only those do that may end the last children: the later one must see what
-- the earlier one did. More than 32 children seldom end at the same moment.
CREATE OR REPLACE FUNCTION {schema}.owsuper_wake_time(
    namespace text, parent text, ended text[]
) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE AS $function$
DECLARE
    at timestamptz := pg_catalog.now();
    due timestamptz;
    open bigint;
    parked boolean;
    elsewhere boolean;
BEGIN
    SELECT
        r.status = 'sleeping' OR (r.status = 'running' AND r.worker_id IS NULL),
        r.status = 'running' AND pg_catalog.strpos(r.worker_id, ':') = 0,
        r.available_at
    INTO parked, elsewhere, due
    FROM {schema}.workflow_runs AS r
    WHERE r.namespace_id = namespace AND r.id >= parent AND r.id <= parent
    ORDER BY r.id
    LIMIT 1;
    IF elsewhere THEN
        SELECT
            r.status = 'sleeping' OR (r.status = 'running' AND r.worker_id IS NULL),
            r.available_at
        INTO parked, due
        FROM {schema}.workflow_runs AS r
        WHERE r.namespace_id = namespace AND r.id >= parent AND r.id <= parent
        ORDER BY r.id
        LIMIT 1
        FOR NO KEY UPDATE;
    END IF;
    IF parked IS NOT TRUE OR due <= at THEN
        RETURN NULL;
    END IF;
    open := {schema}.owsuper_open_children(namespace, parent, ended);
    IF open BETWEEN 1 AND 32 THEN
        PERFORM
        FROM {schema}.workflow_runs AS r
        WHERE r.namespace_id = namespace AND r.id >= parent AND r.id <= parent
        ORDER BY r.id
        LIMIT 1
        FOR NO KEY UPDATE;
        open := {schema}.owsuper_open_children(namespace, parent, ended);
    END IF;
    IF open = 0 THEN
        RETURN at;
    END IF;
    IF open > 32 AND due <= at + interval '2 s' THEN
        RETURN NULL;  -- delayed before, in all likelihood
    END IF;
    SELECT pg_catalog.count(*) INTO open
    FROM (
        SELECT
        FROM {schema}.step_attempts AS s
        WHERE s.namespace_id = namespace AND s.workflow_run_id = parent
            AND s.kind = 'workflow' AND s.status = 'running'
        LIMIT 501
    ) AS w;
    at := at + {schema}.owsuper_wake_delay(open - pg_catalog.cardinality(ended));
    RETURN CASE WHEN due <= at THEN NULL ELSE at END;
END
$function$;
