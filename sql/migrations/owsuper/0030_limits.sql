-- Limits: how many runs of some workflows may run at once, or begin in a time, perhaps for each key.
--
-- A worker declares the limits of its code here (register_limits). Workflows that have none are not
-- concerned by anything in this file. Those that have are claimed by owsuper_claim_limited, which sorts
-- what is due by key, and takes the keys in turn.
--
-- The claims of a namespace that are about limits exclude each other. So nobody counts a place twice,
-- and nothing here needs an order of locks. Who starts, ends or cancels runs waits for none of them:
-- it inserts and deletes rows that belong to a run which it has locked.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_limits (
    namespace_id text NOT NULL,
    name text NOT NULL,
    -- "concurrency" or "rate".
    kind text NOT NULL,
    amount integer NOT NULL,
    -- What an operator has set in the place of the amount.
    set_amount integer,
    -- Of a rate: so many runs in so many seconds, and how many may begin at once; NULL is one.
    period double precision,
    burst integer,
    -- Where the key is in the input. NULL if the run has to say it, or if there is none.
    path text[],
    keyed boolean NOT NULL DEFAULT false,
    -- For how long a run has a place: until it ends ("run"), or while a worker executes it
    -- ("executing").
    hold text NOT NULL DEFAULT 'run',
    on_conflict text NOT NULL DEFAULT 'queue',
    delay double precision,
    -- When the code was loaded that declares it.
    loaded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, name)
);

CREATE TABLE IF NOT EXISTS {schema}.owsuper_limit_workflows (
    namespace_id text NOT NULL,
    workflow_name text NOT NULL,
    limit_name text NOT NULL,
    PRIMARY KEY (namespace_id, workflow_name, limit_name)
);

CREATE INDEX IF NOT EXISTS owsuper_limit_workflows_limit_idx
    ON {schema}.owsuper_limit_workflows (namespace_id, limit_name);

-- The runs that wait for a limit, each for one: it has a place of those before it. In workflow_runs
-- they are due in the year 9999, since not all programs can read infinity. "due" is the due time that
-- they had.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_waiting (
    namespace_id text NOT NULL,
    workflow_run_id text NOT NULL,
    workflow_name text NOT NULL,
    version_text text NOT NULL,
    limit_name text NOT NULL,
    key text NOT NULL,
    due timestamptz NOT NULL,
    PRIMARY KEY (namespace_id, workflow_run_id)
);

CREATE INDEX IF NOT EXISTS owsuper_waiting_lane_idx
    ON {schema}.owsuper_waiting (
        namespace_id, limit_name, key, workflow_name, version_text, due
    );

-- A lane is what waits for a key of a limit, of one workflow and version. "next_at" is its turn; NULL
-- while the limit is reached.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_lanes (
    namespace_id text NOT NULL,
    limit_name text NOT NULL,
    key text NOT NULL,
    workflow_name text NOT NULL,
    version_text text NOT NULL,
    next_at timestamptz,
    PRIMARY KEY (namespace_id, limit_name, key, workflow_name, version_text)
);

CREATE INDEX IF NOT EXISTS owsuper_lanes_turn_idx
    ON {schema}.owsuper_lanes (namespace_id, workflow_name, version_text, next_at)
    WHERE next_at IS NOT NULL;

-- The places that runs have. There is no counter: the rows are the count.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_holds (
    namespace_id text NOT NULL,
    workflow_run_id text NOT NULL,
    limit_name text NOT NULL,
    key text NOT NULL,
    executing boolean NOT NULL,
    PRIMARY KEY (namespace_id, workflow_run_id, limit_name)
);

CREATE INDEX IF NOT EXISTS owsuper_holds_key_idx
    ON {schema}.owsuper_holds (namespace_id, limit_name, key);

-- The state of the rates: the time at which all that has begun would have begun, evenly spread.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_gates (
    namespace_id text NOT NULL,
    limit_name text NOT NULL,
    key text NOT NULL,
    tat timestamptz NOT NULL,
    PRIMARY KEY (namespace_id, limit_name, key)
);

CREATE INDEX IF NOT EXISTS owsuper_gates_tat_idx
    ON {schema}.owsuper_gates (namespace_id, tat);

-- Places that have become free since the last claim. A NULL for the key is all keys.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_freed (
    namespace_id text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    limit_name text NOT NULL,
    key text,
    PRIMARY KEY (namespace_id, id)
);

-- Keys are parts of indexes, whose entries are limited.
CREATE OR REPLACE FUNCTION {schema}.owsuper_key(key text) RETURNS text
LANGUAGE sql IMMUTABLE AS $function$
    SELECT CASE
        WHEN pg_catalog.octet_length(key) <= 600 THEN key
        ELSE pg_catalog.concat(pg_catalog.left(key, 100), '/', pg_catalog.md5(key))
    END
$function$;

-- The key of a run for a limit: what the run says, or what its input has at the path.
CREATE OR REPLACE FUNCTION {schema}.owsuper_key_of(
    limit_name text, keyed boolean, path text[], config jsonb, input jsonb
) RETURNS text
LANGUAGE sql IMMUTABLE AS $function$
    SELECT CASE
        WHEN keyed THEN {schema}.owsuper_key(coalesce(
            config #>> ARRAY['owsuper', 'keys', limit_name],
            pg_catalog.left(input #>> path, 500),
            'null'
        ))
        ELSE ''
    END
$function$;

-- Runs with this mark have their places freed as they end.
CREATE OR REPLACE FUNCTION {schema}.owsuper_mark_limited(config jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $function$
    SELECT CASE WHEN pg_catalog.jsonb_typeof(config) = 'object' THEN config ELSE '{}' END
        || pg_catalog.jsonb_build_object(
            'owsuper',
            CASE
                WHEN pg_catalog.jsonb_typeof(config -> 'owsuper') = 'object'
                    THEN config -> 'owsuper'
                ELSE '{}'
            END || '{"limited": true}'
        )
$function$;

-- Free the places of a run that ends, or those that it has while a worker executes it. Returns whether
-- there were any. What waits is deleted as the run ends. A run that is given back comes back for turns
-- that were brought forward while it was executed; for turns see 0034_step_limits. The rights
-- are those of the tables' owner, because the program that ends the run may know nothing of these
-- tables. For the form of the conditions see 0029_forget_deleted.
CREATE OR REPLACE FUNCTION {schema}.owsuper_free(namespace text, run text, ended boolean)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $function$
DECLARE
    place record;
    freed boolean := false;
BEGIN
    FOR place IN
        DELETE FROM {schema}.owsuper_holds AS h
        WHERE h.ctid = ANY (ARRAY(
            SELECT o.ctid
            FROM {schema}.owsuper_holds AS o
            WHERE o.namespace_id = namespace AND o.workflow_run_id >= run
                AND o.workflow_run_id <= run AND (ended OR o.executing)
            ORDER BY o.namespace_id, o.workflow_run_id, o.limit_name
            OFFSET 0
        ))
        RETURNING h.limit_name, h.key
    LOOP
        freed := true;
        INSERT INTO {schema}.owsuper_freed (namespace_id, limit_name, key)
        VALUES (namespace, place.limit_name, place.key);
    END LOOP;
    IF ended THEN
        DELETE FROM {schema}.owsuper_waiting AS w
        WHERE w.ctid = ANY (ARRAY(
            SELECT o.ctid
            FROM {schema}.owsuper_waiting AS o
            WHERE o.namespace_id = namespace AND o.workflow_run_id >= run
                AND o.workflow_run_id <= run
            ORDER BY o.namespace_id, o.workflow_run_id
            OFFSET 0
        ));
        DELETE FROM {schema}.owsuper_turns AS t
        WHERE t.ctid = ANY (ARRAY(
            SELECT o.ctid
            FROM {schema}.owsuper_turns AS o
            WHERE o.namespace_id = namespace AND o.workflow_run_id >= run
                AND o.workflow_run_id <= run
            ORDER BY o.namespace_id, o.workflow_run_id, o.step_name
            OFFSET 0
        ));
    ELSIF EXISTS (
        SELECT
        FROM (
            SELECT o.moved
            FROM {schema}.owsuper_turns AS o
            WHERE o.namespace_id = namespace AND o.workflow_run_id >= run
                AND o.workflow_run_id <= run
            ORDER BY o.namespace_id, o.workflow_run_id, o.step_name
            OFFSET 0
        ) AS t
        WHERE t.moved
    ) THEN
        WITH forward AS (
            UPDATE {schema}.owsuper_turns AS t
            SET moved = false
            WHERE t.ctid = ANY (ARRAY(
                SELECT o.ctid
                FROM {schema}.owsuper_turns AS o
                WHERE o.namespace_id = namespace AND o.workflow_run_id >= run
                    AND o.workflow_run_id <= run AND o.moved
                ORDER BY o.namespace_id, o.workflow_run_id, o.step_name
                OFFSET 0
            ))
            RETURNING t.at
        )
        INSERT INTO {schema}.workflow_runs AS r (
            namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at,
            available_at
        )
        SELECT namespace, run, '', '', '{}', 0, now(), now(), min(f.at)
        FROM forward AS f
        HAVING count(*) > 0
        ON CONFLICT (namespace_id, id) DO UPDATE
        SET available_at = excluded.available_at
        WHERE r.worker_id IS NULL AND r.status = 'running'
            AND r.available_at > excluded.available_at
            AND r.available_at < '9999-01-01 00:00:00+00';
    END IF;
    RETURN freed;
END
$function$;

-- The bell of runs that are parked, retried, woken or released (see 0007_two_bells). Such a run frees the
-- places that it has while it is executed. A run that a claim puts off rings no bell, and does not free
-- any: the trigger is deferred, and the same claim may have given the run a place since. It is kept
-- out by the condition of the trigger, since a claim puts off a thousand runs.
--
-- The conditions are apart from each other, since each has a cost only where it is reached. New runs
-- ring the bell of 0025_early. For the rest of the function see there.
CREATE OR REPLACE FUNCTION {schema}.owsuper_ring_bell_again() RETURNS trigger
LANGUAGE plpgsql AS $function$
BEGIN
    IF NEW.config -> 'owsuper' ? 'limited' THEN
        PERFORM {schema}.owsuper_free(NEW.namespace_id, NEW.id, false);
    END IF;
    -- One expression, since PERFORM would start the whole executor for the call.
    IF NEW.worker_id IS NULL AND NEW.available_at IS NOT NULL
        AND (
            NOT pg_catalog.pg_try_advisory_xact_lock_shared(
                TG_RELID::integer, pg_catalog.hashtext(NEW.namespace_id) # 1
            )
            OR pg_catalog.pg_try_advisory_xact_lock(
                TG_RELID::integer,
                CASE
                    WHEN NEW.available_at < pg_catalog.now() - interval '250 ms'
                        THEN pg_catalog.hashtext(NEW.namespace_id) # 2
                    ELSE pg_catalog.hashtext(NEW.namespace_id)
                END
            )
        )
        AND pg_catalog.pg_notify(
            pg_catalog.concat('owsuper:', pg_catalog.substr(pg_catalog.md5(
                pg_catalog.concat(TG_TABLE_SCHEMA, '/', NEW.namespace_id)
            ), 1, 24)),
            pg_catalog.concat(
                CASE
                    WHEN NEW.available_at < pg_catalog.now() - interval '250 ms' THEN 'early:'
                END,
                pg_catalog.pg_current_xact_id()
            )
        ) IS NULL
    THEN
        NULL;
    END IF;
    RETURN NULL;
END
$function$;

DROP TRIGGER IF EXISTS owsuper_bell_again ON {schema}.workflow_runs;
CREATE CONSTRAINT TRIGGER owsuper_bell_again
    AFTER UPDATE OF available_at ON {schema}.workflow_runs
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW
    WHEN (NEW.worker_id IS NULL AND NEW.available_at <> '9999-01-01 00:00:00+00')
    EXECUTE FUNCTION {schema}.owsuper_ring_bell_again();

-- A run that ends frees its places, and says so: others may wait for them. Every such transaction
-- notifies, since none waits for another's bell here. A run with undos that fails or is canceled is
-- undone (0031_undos). For the rest of the function see 0019_workers_channel.
CREATE OR REPLACE FUNCTION {schema}.owsuper_tell_result() RETURNS trigger
LANGUAGE plpgsql AS $function$
DECLARE
    channel text;
    most CONSTANT integer := 64;
    held integer := coalesce(
        nullif(pg_catalog.current_setting('owsuper.result_locks', true), ''), '0'
    )::integer;
BEGIN
    IF NEW.config -> 'owsuper' ? 'limited' THEN
        IF {schema}.owsuper_free(NEW.namespace_id, NEW.id, true) THEN
            PERFORM pg_catalog.pg_notify(
                pg_catalog.concat('owsuper:', pg_catalog.substr(pg_catalog.md5(
                    pg_catalog.concat(TG_TABLE_SCHEMA, '/', NEW.namespace_id)
                ), 1, 24)),
                pg_catalog.concat(pg_catalog.pg_current_xact_id())
            );
        END IF;
    END IF;
    IF NEW.status IN ('failed', 'canceled') AND (NEW.context ->> 'undoneBy') IS NULL
        AND NEW.config @> '{"owsuper": {"undo": true}}'
    THEN
        PERFORM {schema}.owsuper_begin_undo(NEW, TG_TABLE_SCHEMA);
    END IF;
    IF NEW.status = 'canceled' AND OLD.worker_id IS NOT NULL THEN
        FOREACH channel IN ARRAY ARRAY['owsuper-workers:', 'owsuper:'] LOOP
            PERFORM pg_catalog.pg_notify(
                pg_catalog.concat(channel, pg_catalog.substr(pg_catalog.md5(
                    pg_catalog.concat(TG_TABLE_SCHEMA, '/', NEW.namespace_id)
                ), 1, 24)),
                pg_catalog.concat('canceled:', NEW.id)
            );
        END LOOP;
    END IF;
    IF held < most AND pg_catalog.pg_try_advisory_xact_lock(
        pg_catalog.hashtextextended(
            pg_catalog.concat('owsuper:result:', NEW.namespace_id, ':', NEW.id), 0
        )
    ) THEN
        PERFORM pg_catalog.set_config('owsuper.result_locks', (held + 1)::text, true);
    ELSE
        PERFORM pg_catalog.pg_notify(
            pg_catalog.concat(
                'owsuper-results:', pg_catalog.substr(pg_catalog.md5(TG_TABLE_SCHEMA), 1, 24)
            ),
            NEW.id
        );
    END IF;
    RETURN NULL;
END
$function$;

DROP TRIGGER IF EXISTS owsuper_result ON {schema}.workflow_runs;
CREATE TRIGGER owsuper_result
    AFTER UPDATE OF status ON {schema}.workflow_runs
    FOR EACH ROW
    WHEN (
        CASE
            WHEN NEW.status NOT IN ('completed', 'succeeded', 'failed', 'canceled')
                OR OLD.status IN ('completed', 'succeeded', 'failed', 'canceled')
                THEN false
            WHEN NEW.config -> 'owsuper' ?| ARRAY['limited', 'undo'] THEN true
            WHEN pg_catalog.current_setting('owsuper.few_results', true) = 'on'
                THEN NOT pg_catalog.pg_try_advisory_xact_lock(
                    pg_catalog.hashtextextended(
                        pg_catalog.concat('owsuper:result:', NEW.namespace_id, ':', NEW.id), 0
                    )
                )
            ELSE true
        END
    )
    EXECUTE FUNCTION {schema}.owsuper_tell_result();

-- Runs that are deleted, whatever program does it, leave nothing here.
CREATE OR REPLACE FUNCTION {schema}.owsuper_free_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF EXISTS (SELECT FROM {schema}.owsuper_limits) THEN
        PERFORM pg_notify(
            concat('owsuper:', substr(md5(concat(TG_TABLE_SCHEMA, '/', namespace_id)), 1, 24)),
            concat(pg_current_xact_id())
        )
        FROM deleted
        WHERE config -> 'owsuper' ? 'limited'
            AND {schema}.owsuper_free(namespace_id, id, true);
    END IF;
    RETURN NULL;
END
$function$;

DROP TRIGGER IF EXISTS owsuper_places_deleted ON {schema}.workflow_runs;
CREATE TRIGGER owsuper_places_deleted
    AFTER DELETE ON {schema}.workflow_runs
    REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT
    EXECUTE FUNCTION {schema}.owsuper_free_deleted();

CREATE OR REPLACE FUNCTION {schema}.owsuper_free_all() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    DELETE FROM {schema}.owsuper_holds;
    DELETE FROM {schema}.owsuper_waiting;
    DELETE FROM {schema}.owsuper_lanes;
    DELETE FROM {schema}.owsuper_turns;
    RETURN NULL;
END
$function$;

DROP TRIGGER IF EXISTS owsuper_places_truncated ON {schema}.workflow_runs;
CREATE TRIGGER owsuper_places_truncated
    AFTER TRUNCATE ON {schema}.workflow_runs
    FOR EACH STATEMENT
    EXECUTE FUNCTION {schema}.owsuper_free_all();

-- Workers learn of other limits, and what waits gets a turn, since there may be room now. What waits
-- for a limit that the workflow has no longer, or that has other keys now, is due again in the queue,
-- and so is all that waits of a workflow with one limit more. With another amount, a rate lets the next
-- run begin within one interval.
CREATE OR REPLACE FUNCTION {schema}.owsuper_limits_changed() RETURNS trigger
LANGUAGE plpgsql AS $function$
DECLARE
    -- As JSON, because the columns of the two tables differ.
    changed jsonb := pg_catalog.to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);
    namespace text := changed ->> 'namespace_id';
    changed_limit text := coalesce(changed ->> 'limit_name', changed ->> 'name');
    other_keys boolean := false;
    latest timestamptz;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF pg_catalog.to_jsonb(NEW) - 'loaded_at' = pg_catalog.to_jsonb(OLD) - 'loaded_at' THEN
            RETURN NULL;
        END IF;
        other_keys := (changed -> 'path', changed -> 'keyed', changed -> 'kind') IS DISTINCT FROM (
            pg_catalog.to_jsonb(OLD) -> 'path', pg_catalog.to_jsonb(OLD) -> 'keyed',
            pg_catalog.to_jsonb(OLD) -> 'kind'
        );
    END IF;
    PERFORM pg_catalog.pg_advisory_xact_lock(
        '{schema}.owsuper_limits'::regclass::oid::integer, pg_catalog.hashtext(namespace)
    );
    IF other_keys OR TG_OP <> 'UPDATE' AND TG_TABLE_NAME = 'owsuper_limit_workflows' THEN
        -- The runs are locked first, as by whoever ends them.
        WITH locked AS MATERIALIZED (
            SELECT r.*, w.due
            FROM (
                SELECT n.workflow_run_id, n.due
                FROM {schema}.owsuper_waiting AS n
                WHERE n.namespace_id = namespace
                    AND (n.limit_name = changed_limit OR TG_OP = 'INSERT')
                    AND (other_keys OR n.workflow_name = changed ->> 'workflow_name')
                ORDER BY n.workflow_run_id
            ) AS w
            CROSS JOIN LATERAL (
                SELECT q.id, q.worker_id, q.status, q.available_at
                FROM {schema}.workflow_runs AS q
                WHERE q.namespace_id = namespace AND q.id >= w.workflow_run_id
                    AND q.id <= w.workflow_run_id
                ORDER BY q.id
                LIMIT 1
                FOR NO KEY UPDATE
            ) AS r
        ),
        freed AS (
            DELETE FROM {schema}.owsuper_waiting AS w
            USING locked AS r
            WHERE w.namespace_id = namespace AND w.workflow_run_id = r.id
        )
        INSERT INTO {schema}.workflow_runs (
            namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at,
            available_at
        )
        SELECT
            namespace, r.id, '', '', '{}', 0, pg_catalog.now(), pg_catalog.now(), r.due
        FROM locked AS r
        WHERE r.worker_id IS NULL AND r.status IN ('pending', 'running', 'sleeping')
            AND r.available_at = '9999-01-01 00:00:00+00'
        ON CONFLICT (namespace_id, id) DO UPDATE
        SET available_at = excluded.available_at;
        DELETE FROM {schema}.owsuper_lanes AS l
        WHERE l.namespace_id = namespace AND l.limit_name = changed_limit
            AND (other_keys OR l.workflow_name = changed ->> 'workflow_name');
    ELSIF TG_OP = 'DELETE' THEN
        -- Runs keep their places until they end: the limit may come back before.
        DELETE FROM {schema}.owsuper_gates AS g
        WHERE g.namespace_id = namespace AND g.limit_name = changed_limit;
    END IF;
    IF TG_OP = 'UPDATE' AND changed ->> 'kind' = 'rate' THEN
        latest := pg_catalog.clock_timestamp() + interval '1 second' * (
            coalesce((changed ->> 'burst')::integer, 1)
            * coalesce((changed ->> 'period')::double precision, 0)
            / greatest(coalesce(changed ->> 'set_amount', changed ->> 'amount')::integer, 1)
        );
        UPDATE {schema}.owsuper_gates AS g
        SET tat = latest
        WHERE g.namespace_id = namespace AND g.limit_name = changed_limit AND g.tat > latest;
    END IF;
    INSERT INTO {schema}.owsuper_freed (namespace_id, limit_name) VALUES (namespace, changed_limit);
    PERFORM pg_catalog.pg_notify(
        pg_catalog.concat('owsuper-workers:', pg_catalog.substr(pg_catalog.md5(
            pg_catalog.concat(TG_TABLE_SCHEMA, '/', namespace)
        ), 1, 24)),
        'limits'
    );
    RETURN NULL;
END
$function$;

DROP TRIGGER IF EXISTS owsuper_changed ON {schema}.owsuper_limits;
CREATE TRIGGER owsuper_changed
    AFTER INSERT OR UPDATE OR DELETE ON {schema}.owsuper_limits
    FOR EACH ROW
    EXECUTE FUNCTION {schema}.owsuper_limits_changed();

DROP TRIGGER IF EXISTS owsuper_changed ON {schema}.owsuper_limit_workflows;
CREATE TRIGGER owsuper_changed
    AFTER INSERT OR UPDATE OR DELETE ON {schema}.owsuper_limit_workflows
    FOR EACH ROW
    EXECUTE FUNCTION {schema}.owsuper_limits_changed();

-- The first limit of a workflow, after another, of which the run still needs a place: those of
-- concurrency whose places are held until the run ends, those whose places are held while it is
-- executed, then the rates, each by name. A run that was begun before needs no rate.
--
-- A run never waits for a place that is before one which it has, in this order. So no two wait for each
-- other, even if a limit was added while they ran, or they gave back what they had while executed.
CREATE OR REPLACE FUNCTION {schema}.owsuper_next_limit(
    namespace text, workflow text, run text, begun boolean, after_kind text, after_name text
) RETURNS {schema}.owsuper_limits
LANGUAGE sql STABLE AS $function$
    SELECT l.*
    FROM {schema}.owsuper_limit_workflows AS u
    JOIN {schema}.owsuper_limits AS l
        ON l.namespace_id = u.namespace_id AND l.name = u.limit_name
    WHERE u.namespace_id = namespace AND u.workflow_name = workflow
        AND CASE l.kind
            WHEN 'rate' THEN NOT begun AND (l.kind, l.name) > (after_kind, after_name)
            ELSE NOT EXISTS (
                SELECT
                FROM (
                    SELECT o.limit_name, o.executing
                    FROM {schema}.owsuper_holds AS o
                    WHERE o.namespace_id = namespace AND o.workflow_run_id >= run
                        AND o.workflow_run_id <= run
                    ORDER BY o.namespace_id, o.workflow_run_id, o.limit_name
                    OFFSET 0
                ) AS h
                WHERE h.limit_name = l.name
                    OR (h.executing, h.limit_name) > (l.hold = 'executing', l.name)
            )
        END
    ORDER BY l.kind, l.hold = 'executing', l.name
    LIMIT 1
$function$;

-- Claim runs of workflows with limits. For the parameters and the answer see the query claim_limited.
--
-- Each statement of the function sees what committed before it. The plans must be good whatever the
-- planner knows about the tables, since they are kept: so it may not scan or sort them. What may not
-- be has a cost for which the server would compile each statement, which takes far longer.
CREATE OR REPLACE FUNCTION {schema}.owsuper_claim_limited(
    namespace text, workflows json, room integer, worker_prefix text, lease double precision,
    begun_first boolean, since_new timestamptz, since_begun timestamptz, margin double precision,
    most_sorted integer, waits boolean
) RETURNS TABLE (about json, run {schema}.workflow_runs)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_sort = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan
SET jit = off
AS $function$
DECLARE
    quiet boolean := false;
    ids text[] := '{}';
    due_times timestamptz[] := '{}';
    ready_ids text[] := '{}';
    ready_times timestamptz[] := '{}';
    sorted integer := 0;
    events integer := 0;
    most_events CONSTANT integer := 1000;
    batch CONSTANT integer := greatest(
        most_sorted / greatest(json_array_length(workflows), 1), 40
    );
    looks integer := 4 * room + 200;
    looked integer;
    looked_at timestamptz;
    head_new timestamptz;
    head_begun timestamptz;
    next_turn timestamptz;
    lane record;
    gate {schema}.owsuper_limits;
    following {schema}.owsuper_limits;
    candidate record;
    counted text[] := '{}';
    taken integer;
    spacing interval;
    ready_at timestamptz;
    own_key text;
    began timestamptz;
BEGIN
    IF NOT pg_catalog.pg_try_advisory_xact_lock(
        '{schema}.owsuper_limits'::regclass::oid::integer, pg_catalog.hashtext(namespace)
    ) THEN
        about := json_build_object(
            'next', 0.005, 'more', false, 'due', NULL, 'complete', false, 'quiet', false,
            'new', since_new, 'begun', since_begun, 'took', 0, 'waited', NULL
        );
        RETURN NEXT;
        RETURN;
    END IF;
    -- What makes runs due from here on is seen by the statements that follow (see claim).
    quiet := pg_catalog.pg_try_advisory_lock(
        '{schema}.workflow_runs'::regclass::oid::integer, pg_catalog.hashtext(namespace) # 1
    );
    IF quiet THEN
        quiet := pg_catalog.pg_advisory_unlock(
            '{schema}.workflow_runs'::regclass::oid::integer, pg_catalog.hashtext(namespace) # 1
        );
    END IF;

    -- Where a place has become free, there is a turn.
    FOR lane IN
        DELETE FROM {schema}.owsuper_freed AS f
        WHERE f.namespace_id = namespace AND f.id = ANY (ARRAY(
            SELECT e.id
            FROM {schema}.owsuper_freed AS e
            WHERE e.namespace_id = namespace
            ORDER BY e.id
            LIMIT most_events
            FOR UPDATE SKIP LOCKED
        ))
        RETURNING f.limit_name, f.key
    LOOP
        events := events + 1;
        IF lane.key IS NULL THEN
            UPDATE {schema}.owsuper_lanes AS l
            SET next_at = clock_timestamp()
            WHERE l.namespace_id = namespace AND l.limit_name = lane.limit_name;
        ELSE
            UPDATE {schema}.owsuper_lanes AS l
            SET next_at = clock_timestamp()
            WHERE l.namespace_id = namespace AND l.limit_name = lane.limit_name
                AND l.key = lane.key AND l.next_at IS NULL;
        END IF;
    END LOOP;

    -- Sort what is due in the queues by the first limit of which each run needs a place.
    began := clock_timestamp();
    WITH found AS MATERIALIZED (
        SELECT r.*, w.version, s.begun
        FROM json_to_recordset(workflows) AS w (name text, version text)
        CROSS JOIN (VALUES (false), (true)) AS s (begun)
        CROSS JOIN LATERAL (
            SELECT
                q.id, q.workflow_name, coalesce('v' || q.version, '') AS version_text, q.config,
                q.input, q.attempts, q.available_at
            FROM {schema}.workflow_runs AS q
            WHERE q.namespace_id = namespace AND q.workflow_name = w.name
                AND coalesce(q.version, '') = coalesce(w.version, '')
                AND q.version IS NOT DISTINCT FROM w.version
                AND (q.status <> 'pending') = s.begun
                AND q.available_at >= least(
                    CASE WHEN s.begun THEN since_begun ELSE since_new END,
                    now() - margin * interval '1 second'
                )
                AND q.available_at <= now()
                AND q.worker_id IS NULL AND q.status IN ('pending', 'running', 'sleeping')
                AND (q.deadline_at IS NULL OR q.deadline_at > now())
            ORDER BY q.available_at NULLS FIRST
            LIMIT CASE WHEN s.begun THEN 2 * room + 20 ELSE batch END
            FOR NO KEY UPDATE SKIP LOCKED
        ) AS r
    ),
    latest AS MATERIALIZED (
        -- The latest, while more are due than are sorted at once: a run that comes after a hundred
        -- thousand of another key need not wait until these are sorted. Not further back than a
        -- minute, because nothing else bounds how many entries of sorted runs are stepped over.
        SELECT r.*
        FROM (
            -- "begun" is false. The planner must not know it, or it does not find the index.
            SELECT
                f.workflow_name, f.version, bool_and(f.begun) AS begun, max(f.available_at) AS since
            FROM found AS f
            WHERE NOT f.begun
            GROUP BY f.workflow_name, f.version
            HAVING count(*) >= batch
        ) AS h
        CROSS JOIN LATERAL (
            SELECT
                q.id, q.workflow_name, coalesce('v' || q.version, '') AS version_text, q.config,
                q.input, q.attempts, q.available_at
            FROM {schema}.workflow_runs AS q
            WHERE q.namespace_id = namespace AND q.workflow_name = h.workflow_name
                AND coalesce(q.version, '') = coalesce(h.version, '')
                AND q.version IS NOT DISTINCT FROM h.version
                AND (q.status <> 'pending') = h.begun
                AND q.available_at > greatest(h.since, now() - interval '1 minute')
                AND q.available_at <= now()
                AND q.worker_id IS NULL AND q.status IN ('pending', 'running', 'sleeping')
                AND (q.deadline_at IS NULL OR q.deadline_at > now())
            ORDER BY q.available_at DESC NULLS LAST
            LIMIT batch / 4
            FOR NO KEY UPDATE SKIP LOCKED
        ) AS r
    ),
    placed AS MATERIALIZED (
        SELECT
            f.id, f.workflow_name, f.version_text, f.config, f.available_at, n.name AS limit_name,
            {schema}.owsuper_key_of(n.name, n.keyed, n.path, f.config, f.input) AS key
        FROM (
            SELECT id, workflow_name, version_text, config, input, attempts, available_at FROM found
            UNION ALL
            SELECT id, workflow_name, version_text, config, input, attempts, available_at FROM latest
        ) AS f
        LEFT JOIN LATERAL (
            -- As owsuper_next_limit, which would be called for each row.
            SELECT l.name, l.keyed, l.path
            FROM {schema}.owsuper_limit_workflows AS u
            JOIN {schema}.owsuper_limits AS l
                ON l.namespace_id = u.namespace_id AND l.name = u.limit_name
            WHERE u.namespace_id = namespace AND u.workflow_name = f.workflow_name
                AND CASE l.kind
                    WHEN 'rate' THEN f.attempts = 0
                    ELSE NOT EXISTS (
                        SELECT
                        FROM (
                            SELECT o.limit_name, o.executing
                            FROM {schema}.owsuper_holds AS o
                            WHERE o.namespace_id = namespace AND o.workflow_run_id >= f.id
                                AND o.workflow_run_id <= f.id
                            ORDER BY o.namespace_id, o.workflow_run_id, o.limit_name
                            OFFSET 0
                        ) AS h
                        WHERE h.limit_name = l.name
                            OR (h.executing, h.limit_name) > (l.hold = 'executing', l.name)
                    )
                END
            ORDER BY l.kind, l.hold = 'executing', l.name
            LIMIT 1
        ) AS n ON true
    ),
    waiting AS (
        -- A run that was woken while it waited keeps its turn.
        INSERT INTO {schema}.owsuper_waiting AS o (
            namespace_id, workflow_run_id, workflow_name, version_text, limit_name, key, due
        )
        SELECT namespace, p.id, p.workflow_name, p.version_text, p.limit_name, p.key, p.available_at
        FROM placed AS p
        WHERE p.limit_name IS NOT NULL
        ON CONFLICT (namespace_id, workflow_run_id) DO UPDATE
        SET limit_name = excluded.limit_name, key = excluded.key,
            due = least(o.due, excluded.due)
    ),
    lanes AS (
        INSERT INTO {schema}.owsuper_lanes AS l (
            namespace_id, limit_name, key, workflow_name, version_text, next_at
        )
        SELECT
            namespace, p.limit_name, p.key, p.workflow_name, p.version_text,
            began + min(p.place) * interval '1 microsecond'
        FROM (SELECT *, row_number() OVER () AS place FROM placed) AS p
        WHERE p.limit_name IS NOT NULL
        GROUP BY p.limit_name, p.key, p.workflow_name, p.version_text
        ON CONFLICT (namespace_id, limit_name, key, workflow_name, version_text) DO UPDATE
        SET next_at = excluded.next_at WHERE l.next_at IS NULL
    ),
    put_off AS (
        INSERT INTO {schema}.workflow_runs (
            namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at
        )
        SELECT
            namespace, p.id, '', '', {schema}.owsuper_mark_limited(p.config), 0, now(), now()
        FROM placed AS p
        WHERE p.limit_name IS NOT NULL
        ON CONFLICT (namespace_id, id) DO UPDATE
        SET available_at = '9999-01-01 00:00:00+00', config = excluded.config
    )
    SELECT
        count(p.limit_name),
        coalesce(
            array_agg(p.id ORDER BY p.available_at, p.id) FILTER (WHERE p.limit_name IS NULL), '{}'
        ),
        coalesce(
            array_agg(p.available_at ORDER BY p.available_at, p.id)
                FILTER (WHERE p.limit_name IS NULL),
            '{}'
        )
    INTO sorted, ready_ids, ready_times
    FROM placed AS p;

    IF begun_first THEN
        ids := ready_ids[:room];
        due_times := ready_times[:room];
    END IF;

    -- One run of each lane, in turn.
    WHILE coalesce(array_length(ids, 1), 0) < room AND looks > 0 LOOP
        looked := 0;
        looked_at := clock_timestamp();  -- an index cannot be read up to what changes
        FOR lane IN
            SELECT t.*
            FROM (
                SELECT n.*
                FROM json_to_recordset(workflows) AS w (name text, version text)
                CROSS JOIN LATERAL (
                    SELECT l.limit_name, l.key, l.workflow_name, l.version_text, l.next_at
                    FROM {schema}.owsuper_lanes AS l
                    WHERE l.namespace_id = namespace AND l.workflow_name = w.name
                        AND l.version_text = coalesce('v' || w.version, '')
                        AND l.next_at <= looked_at
                    ORDER BY l.next_at
                    LIMIT room
                ) AS n
            ) AS t
            ORDER BY t.next_at
            LIMIT room
        LOOP
            looked := looked + 1;
            looks := looks - 1;
            EXIT WHEN coalesce(array_length(ids, 1), 0) >= room;
            ready_at := clock_timestamp();
            SELECT * INTO gate
            FROM {schema}.owsuper_limits AS g
            WHERE g.namespace_id = namespace AND g.name = lane.limit_name;
            candidate := NULL;
            IF gate.kind = 'concurrency' THEN
                -- Nobody else takes places, so those of one key are counted once.
                IF counted <> ARRAY[gate.name, lane.key] THEN
                    SELECT count(*) INTO taken
                    FROM (
                        SELECT
                        FROM {schema}.owsuper_holds AS h
                        WHERE h.namespace_id = namespace AND h.limit_name = gate.name
                            AND h.key = lane.key
                        LIMIT coalesce(gate.set_amount, gate.amount)
                    ) AS held;
                    counted := ARRAY[gate.name, lane.key];
                END IF;
                IF taken >= coalesce(gate.set_amount, gate.amount) THEN
                    ready_at := NULL;
                END IF;
            ELSIF gate.kind = 'rate' THEN
                spacing := coalesce(gate.period, 0)
                    / greatest(coalesce(gate.set_amount, gate.amount), 1) * interval '1 second';
                SELECT greatest(
                    ready_at, s.tat - (coalesce(gate.burst, 1) - 1) * spacing
                ) INTO ready_at
                FROM {schema}.owsuper_gates AS s
                WHERE s.namespace_id = namespace AND s.limit_name = gate.name AND s.key = lane.key
                FOR UPDATE;  -- steps take tokens, too
                ready_at := coalesce(ready_at, clock_timestamp());
            END IF;
            IF ready_at <= clock_timestamp() THEN
                SELECT r.* INTO candidate
                FROM (
                    SELECT w.workflow_run_id, w.due
                    FROM {schema}.owsuper_waiting AS w
                    WHERE w.namespace_id = namespace AND w.limit_name = lane.limit_name
                        AND w.key = lane.key AND w.workflow_name = lane.workflow_name
                        AND w.version_text = lane.version_text
                    ORDER BY w.due
                    LIMIT 100
                ) AS w
                CROSS JOIN LATERAL (
                    SELECT
                        q.id, q.workflow_name, q.config, q.input, q.attempts, q.worker_id,
                        q.status, q.available_at, q.created_at, w.due
                    FROM {schema}.workflow_runs AS q
                    WHERE q.namespace_id = namespace AND q.id >= w.workflow_run_id
                        AND q.id <= w.workflow_run_id
                        AND (q.deadline_at IS NULL OR q.deadline_at > now())
                    ORDER BY q.id
                    LIMIT 1
                    FOR NO KEY UPDATE SKIP LOCKED
                ) AS r
                LIMIT 1;
                IF candidate.id IS NULL THEN
                    IF EXISTS (
                        SELECT FROM {schema}.owsuper_waiting AS w
                        WHERE w.namespace_id = namespace AND w.limit_name = lane.limit_name
                            AND w.key = lane.key AND w.workflow_name = lane.workflow_name
                            AND w.version_text = lane.version_text
                    ) THEN
                        -- Others have locked what waits, or it is past its deadline.
                        ready_at := clock_timestamp() + interval '50 ms';
                    ELSE
                        DELETE FROM {schema}.owsuper_lanes AS l
                        WHERE l.namespace_id = namespace AND l.limit_name = lane.limit_name
                            AND l.key = lane.key AND l.workflow_name = lane.workflow_name
                            AND l.version_text = lane.version_text;
                        CONTINUE;
                    END IF;
                ELSIF gate.name IS NULL OR candidate.worker_id IS NOT NULL
                    OR candidate.status NOT IN ('pending', 'running', 'sleeping')
                    OR candidate.available_at IS DISTINCT FROM '9999-01-01 00:00:00+00'
                THEN
                    -- It waits no more, or was given another due time. If the limit is gone, the run
                    -- is due again in the queue.
                    DELETE FROM {schema}.owsuper_waiting AS w
                    WHERE w.namespace_id = namespace AND w.workflow_run_id = candidate.id;
                    IF candidate.worker_id IS NULL
                        AND candidate.status IN ('pending', 'running', 'sleeping')
                        AND candidate.available_at = '9999-01-01 00:00:00+00'
                    THEN
                        INSERT INTO {schema}.workflow_runs (
                            namespace_id, id, workflow_name, status, config, attempts, created_at,
                            updated_at, available_at
                        )
                        VALUES (
                            namespace, candidate.id, '', '', '{}', 0, now(), now(), candidate.due
                        )
                        ON CONFLICT (namespace_id, id) DO UPDATE
                        SET available_at = excluded.available_at;
                    END IF;
                ELSE
                    IF gate.kind = 'concurrency' THEN
                        INSERT INTO {schema}.owsuper_holds (
                            namespace_id, workflow_run_id, limit_name, key, executing
                        )
                        VALUES (
                            namespace, candidate.id, gate.name, lane.key, gate.hold = 'executing'
                        )
                        ON CONFLICT (namespace_id, workflow_run_id, limit_name) DO NOTHING;
                        taken := taken + FOUND::integer;
                    ELSE
                        INSERT INTO {schema}.owsuper_gates AS s (
                            namespace_id, limit_name, key, tat
                        )
                        VALUES (namespace, gate.name, lane.key, clock_timestamp() + spacing)
                        ON CONFLICT (namespace_id, limit_name, key) DO UPDATE
                        SET tat = greatest(s.tat, clock_timestamp()) + spacing
                        WHERE s.tat - (coalesce(gate.burst, 1) - 1) * spacing
                            <= clock_timestamp();
                        -- A step has taken the first token of the key at this moment.
                        CONTINUE WHEN NOT FOUND;
                    END IF;
                    following := {schema}.owsuper_next_limit(
                        namespace, candidate.workflow_name, candidate.id, candidate.attempts > 0,
                        gate.kind, gate.name
                    );
                    IF following.name IS NULL THEN
                        DELETE FROM {schema}.owsuper_waiting AS w
                        WHERE w.namespace_id = namespace AND w.workflow_run_id = candidate.id;
                        ids := ids || candidate.id;
                        -- A run with a priority has a due time before its creation.
                        due_times := due_times || CASE
                            WHEN candidate.config -> 'owsuper' ? 'priority'
                                THEN greatest(candidate.due, candidate.created_at)
                            ELSE candidate.due
                        END;
                    ELSE
                        own_key := {schema}.owsuper_key_of(
                            following.name, following.keyed, following.path,
                            candidate.config, candidate.input
                        );
                        UPDATE {schema}.owsuper_waiting AS w
                        SET limit_name = following.name, key = own_key
                        WHERE w.namespace_id = namespace AND w.workflow_run_id = candidate.id;
                        INSERT INTO {schema}.owsuper_lanes AS l (
                            namespace_id, limit_name, key, workflow_name, version_text, next_at
                        )
                        VALUES (
                            namespace, following.name, own_key, lane.workflow_name,
                            lane.version_text, clock_timestamp()
                        )
                        ON CONFLICT (namespace_id, limit_name, key, workflow_name, version_text)
                        DO UPDATE SET next_at = excluded.next_at WHERE l.next_at IS NULL;
                    END IF;
                    ready_at := clock_timestamp();
                END IF;
            END IF;
            UPDATE {schema}.owsuper_lanes AS l
            SET next_at = ready_at
            WHERE l.namespace_id = namespace AND l.limit_name = lane.limit_name
                AND l.key = lane.key AND l.workflow_name = lane.workflow_name
                AND l.version_text = lane.version_text;
        END LOOP;
        EXIT WHEN looked = 0;
    END LOOP;

    taken := room - coalesce(array_length(ids, 1), 0);
    IF NOT begun_first AND taken > 0 THEN
        ids := ids || ready_ids[:taken];
        due_times := due_times || ready_times[:taken];
    END IF;

    -- What is left: due times and turns.
    SELECT min(h.available_at) FILTER (WHERE NOT s.begun),
        min(h.available_at) FILTER (WHERE s.begun)
    INTO head_new, head_begun
    FROM json_to_recordset(workflows) AS w (name text, version text)
    CROSS JOIN (VALUES (false), (true)) AS s (begun)
    CROSS JOIN LATERAL (
        SELECT q.available_at
        FROM {schema}.workflow_runs AS q
        WHERE q.namespace_id = namespace AND q.workflow_name = w.name
            AND coalesce(q.version, '') = coalesce(w.version, '')
            AND q.version IS NOT DISTINCT FROM w.version
            AND (q.status <> 'pending') = s.begun
            AND q.available_at >= least(
                CASE WHEN s.begun THEN since_begun ELSE since_new END,
                now() - margin * interval '1 second'
            )
            AND q.available_at < '9999-01-01 00:00:00+00'
            AND q.worker_id IS NULL AND q.status IN ('pending', 'running', 'sleeping')
            AND (q.deadline_at IS NULL OR q.deadline_at > now())
            AND q.id <> ALL (ids)
        ORDER BY q.available_at NULLS FIRST
        LIMIT 1
    ) AS h;
    SELECT min(n.next_at) INTO next_turn
    FROM json_to_recordset(workflows) AS w (name text, version text)
    CROSS JOIN LATERAL (
        SELECT l.next_at
        FROM {schema}.owsuper_lanes AS l
        WHERE l.namespace_id = namespace AND l.workflow_name = w.name
            AND l.version_text = coalesce('v' || w.version, '') AND l.next_at IS NOT NULL
        ORDER BY l.next_at
        LIMIT 1
    ) AS n;
    DELETE FROM {schema}.owsuper_gates AS s
    WHERE s.namespace_id = namespace AND s.tat < now() AND (s.limit_name, s.key) IN (
        SELECT o.limit_name, o.key
        FROM {schema}.owsuper_gates AS o
        WHERE o.namespace_id = namespace AND o.tat < now()
        ORDER BY o.tat
        LIMIT 2 * room + 20
    );

    about := json_build_object(
        'next', CASE
            WHEN coalesce(array_length(ids, 1), 0) >= room THEN 0
            ELSE greatest(
                extract(epoch FROM least(head_new, head_begun, next_turn) - clock_timestamp()),
                CASE
                    WHEN sorted > 0 OR looks <= 0 OR events >= most_events
                        OR next_turn <= clock_timestamp() THEN 0
                    -- Others have locked what is due.
                    WHEN least(head_new, head_begun) <= clock_timestamp() THEN 0.02
                END
            )
        END,
        'more', coalesce(array_length(ids, 1), 0) >= room AND (
            coalesce(array_length(ready_ids, 1), 0) > 0 AND NOT ready_ids <@ ids
            OR coalesce(next_turn <= clock_timestamp(), false)
        ),
        'due', NULL,
        'complete', quiet,
        'quiet', quiet,
        'new', least(head_new, now() - interval '250 ms'),
        'begun', least(head_begun, now() - interval '250 ms'),
        'took', extract(epoch FROM clock_timestamp() - statement_timestamp()),
        'waited', CASE WHEN waits THEN (
            SELECT json_object_agg(
                u.id, extract(epoch FROM now() - greatest(u.due, now() - interval '1 year'))
            )
            FROM unnest(ids, due_times) AS u (id, due)
        ) END
    );
    RETURN NEXT;
    RETURN QUERY
    WITH claimed AS (
        INSERT INTO {schema}.workflow_runs AS r (
            namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at,
            worker_id, available_at
        )
        SELECT
            namespace, u.id, '', 'running', '{}', 0, now(), now(),
            worker_prefix || gen_random_uuid(), now() + lease * interval '1 second'
        FROM unnest(ids) AS u (id)
        ON CONFLICT (namespace_id, id) DO UPDATE
        SET status = excluded.status,
            attempts = r.attempts + 1,
            worker_id = excluded.worker_id,
            available_at = excluded.available_at,
            started_at = coalesce(r.started_at, now()),
            updated_at = excluded.updated_at
        RETURNING r.*
    )
    SELECT NULL::json, ROW(claimed.*)::{schema}.workflow_runs FROM claimed;
END
$function$;
