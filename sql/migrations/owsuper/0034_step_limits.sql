-- Limits of steps: rates only. A step takes its turn just before it begins, from the buckets of 0030_limits.
--
-- A step that may not begin at once gets a turn: a time at which its run is due again. Turns of one
-- bucket are apart, in the order in which the steps came. So each wait ends by itself, and no two end
-- together. A turn is only a time to come back: what counts is the token, which the step takes when it
-- begins. So a run that comes back late, with many others after an outage for example, does not begin
-- beyond the rate.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_turns (
    namespace_id text NOT NULL,
    workflow_run_id text NOT NULL,
    step_name text NOT NULL,
    limit_name text NOT NULL,
    key text NOT NULL,
    -- The turn, and when the wait for it began.
    at timestamptz NOT NULL,
    since timestamptz NOT NULL,
    -- The turn was brought forward while a worker had the run, which perhaps knows the one before.
    moved boolean NOT NULL DEFAULT false,
    PRIMARY KEY (namespace_id, workflow_run_id, step_name)
);

CREATE INDEX IF NOT EXISTS owsuper_turns_limit_idx
    ON {schema}.owsuper_turns (namespace_id, limit_name, key, at);

-- The workflows whose steps have used a limit. Their runs are claimed like those without limits.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_limit_steps (
    namespace_id text NOT NULL,
    limit_name text NOT NULL,
    workflow_name text NOT NULL,
    PRIMARY KEY (namespace_id, limit_name, workflow_name)
);

-- The end of the turns that were given to steps which came to their turn when the bucket was empty.
ALTER TABLE {schema}.owsuper_gates ADD COLUMN IF NOT EXISTS again timestamptz;

-- Take a token for a step, or a turn. For the parameters and the answer see the query take_turn.
--
-- The bucket is locked, and after it the run, if the step has to wait. Claims lock buckets as well, but
-- only runs that nobody owns.
CREATE OR REPLACE FUNCTION {schema}.owsuper_take_turn(
    namespace text, run text, worker text, workflow text, step text, definition json,
    own_key text, loaded timestamptz, soon double precision, with_others boolean
) RETURNS TABLE (turn_step text, turn_at timestamptz, verdict text, seconds double precision)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_sort = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan
SET jit = off
AS $function$
DECLARE
    own_limit CONSTANT text := definition ->> 'name';
    known {schema}.owsuper_limits;
    gate {schema}.owsuper_gates;
    turn {schema}.owsuper_turns;
    has_turn boolean;
    bucket CONSTANT text := {schema}.owsuper_key(own_key);
    spacing interval;
    began timestamptz;
    latest timestamptz;
    token timestamptz;
    behind timestamptz;
BEGIN
    SELECT * INTO known
    FROM {schema}.owsuper_limits AS l
    WHERE l.namespace_id = namespace AND l.name = own_limit;
    IF known.kind <> 'rate' THEN
        turn_step := step;
        verdict := 'no rate';
        RETURN NEXT;
        RETURN;
    END IF;
    IF known.name IS NULL OR known.loaded_at < loaded AND (
        known.amount, known.period, coalesce(known.burst, 1), known.keyed, to_jsonb(known.path)
    ) IS DISTINCT FROM (
        (definition ->> 'amount')::integer, (definition ->> 'period')::double precision,
        (definition ->> 'burst')::integer, (definition ->> 'keyed')::boolean,
        nullif((definition -> 'path')::jsonb, 'null')
    ) THEN
        INSERT INTO {schema}.owsuper_limits AS l (
            namespace_id, name, kind, amount, period, burst, path, keyed, loaded_at
        )
        VALUES (
            namespace, own_limit, 'rate', (definition ->> 'amount')::integer,
            (definition ->> 'period')::double precision, (definition ->> 'burst')::integer,
            CASE WHEN json_typeof(definition -> 'path') = 'array'
                THEN ARRAY(SELECT json_array_elements_text(definition -> 'path')) END,
            (definition ->> 'keyed')::boolean, loaded
        )
        ON CONFLICT (namespace_id, name) DO UPDATE
        SET amount = excluded.amount, period = excluded.period, burst = excluded.burst,
            path = excluded.path, keyed = excluded.keyed, loaded_at = excluded.loaded_at
        WHERE l.kind = 'rate' AND l.loaded_at < excluded.loaded_at;
        SELECT * INTO known
        FROM {schema}.owsuper_limits AS l
        WHERE l.namespace_id = namespace AND l.name = own_limit;
    END IF;
    IF NOT EXISTS (
        SELECT
        FROM {schema}.owsuper_limit_steps AS u
        WHERE u.namespace_id = namespace AND u.limit_name = own_limit
            AND u.workflow_name = workflow
    ) THEN
        INSERT INTO {schema}.owsuper_limit_steps (namespace_id, limit_name, workflow_name)
        VALUES (namespace, own_limit, workflow)
        ON CONFLICT DO NOTHING;
    END IF;

    SELECT * INTO gate
    FROM {schema}.owsuper_gates AS g
    WHERE g.namespace_id = namespace AND g.limit_name = own_limit AND g.key = bucket
    FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO {schema}.owsuper_gates AS g (namespace_id, limit_name, key, tat)
        VALUES (namespace, own_limit, bucket, clock_timestamp())
        ON CONFLICT (namespace_id, limit_name, key) DO UPDATE SET tat = g.tat
        RETURNING * INTO gate;
    END IF;
    -- Read again: whoever raises the rate moves the turns while it has the buckets.
    spacing := interval '1 second' * coalesce(
        (
            SELECT l.period / greatest(coalesce(l.set_amount, l.amount), 1)
            FROM {schema}.owsuper_limits AS l
            WHERE l.namespace_id = namespace AND l.name = own_limit
        ),
        known.period / greatest(coalesce(known.set_amount, known.amount), 1)
    );
    began := clock_timestamp();
    latest := began + soon * interval '1 second';
    -- It is further ahead only if the rate was raised while the bucket was made.
    gate.tat := least(gate.tat, latest + coalesce(known.burst, 1) * spacing);
    SELECT * INTO turn
    FROM {schema}.owsuper_turns AS t
    WHERE t.namespace_id = namespace AND t.workflow_run_id = run AND t.step_name = step;
    has_turn := FOUND AND turn.limit_name = own_limit AND turn.key = bucket;
    -- The turn after all others. Those of runs that have ended are deleted, so they delay nobody.
    SELECT t.at + spacing INTO behind
    FROM {schema}.owsuper_turns AS t
    WHERE t.namespace_id = namespace AND t.limit_name = own_limit AND t.key = bucket
    ORDER BY t.namespace_id DESC, t.limit_name DESC, t.key DESC, t.at DESC
    LIMIT 1;
    -- When the next token is there.
    token := greatest(began, gate.tat - (coalesce(known.burst, 1) - 1) * spacing);
    IF has_turn AND turn.at > latest THEN
        turn_at := turn.at;
    ELSIF has_turn THEN
        token := greatest(token, turn.at);
        IF token > latest THEN
            turn_at := greatest(token, least(gate.again, behind));
            gate.again := turn_at + spacing;
        END IF;
    ELSE
        token := greatest(token, behind);
        IF token > latest THEN
            turn_at := token;
        END IF;
    END IF;

    IF turn_at IS NULL THEN
        verdict := 'begin';
        gate.tat := greatest(gate.tat, token) + spacing;
        seconds := greatest(extract(epoch FROM token - clock_timestamp()), 0);
        IF turn.step_name IS NOT NULL THEN  -- perhaps of a limit that the step had before
            DELETE FROM {schema}.owsuper_turns AS t
            WHERE t.namespace_id = namespace AND t.workflow_run_id = run AND t.step_name = step;
        END IF;
    ELSE
        verdict := 'wait';
        -- The mark has the turns of the run deleted when it ends.
        WITH locked AS MATERIALIZED (
            SELECT r.id, r.config, r.status, r.worker_id
            FROM {schema}.workflow_runs AS r
            WHERE r.namespace_id = namespace AND r.id >= run AND r.id <= run
            ORDER BY r.id
            LIMIT 1
            FOR NO KEY UPDATE
        ),
        owned AS MATERIALIZED (
            SELECT o.id, o.config
            FROM locked AS o
            WHERE o.status = 'running' AND o.worker_id = worker
        ),
        marked AS (
            INSERT INTO {schema}.workflow_runs (
                namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at
            )
            SELECT
                namespace, o.id, '', '', {schema}.owsuper_mark_limited(o.config), 0, now(), now()
            FROM owned AS o
            WHERE (o.config -> 'owsuper' ? 'limited') IS NOT TRUE
            ON CONFLICT (namespace_id, id) DO UPDATE
            SET config = excluded.config
        )
        INSERT INTO {schema}.owsuper_turns AS t (
            namespace_id, workflow_run_id, step_name, limit_name, key, at, since
        )
        SELECT namespace, o.id, step, own_limit, bucket, turn_at, began
        FROM owned AS o
        ON CONFLICT (namespace_id, workflow_run_id, step_name) DO UPDATE
        SET limit_name = excluded.limit_name, key = excluded.key, at = excluded.at,
            since = CASE
                WHEN t.limit_name = excluded.limit_name AND t.key = excluded.key THEN t.since
                ELSE excluded.since
            END;
        IF NOT FOUND THEN
            verdict := 'lost';
        END IF;
    END IF;
    IF verdict <> 'lost' THEN
        UPDATE {schema}.owsuper_gates AS g
        SET tat = gate.tat, again = gate.again
        WHERE g.namespace_id = namespace AND g.limit_name = own_limit AND g.key = bucket
            AND (g.tat, g.again) IS DISTINCT FROM (gate.tat, gate.again);
    END IF;
    turn_step := step;
    RETURN NEXT;

    DELETE FROM {schema}.owsuper_gates AS g
    WHERE g.ctid = ANY (ARRAY(
        SELECT o.ctid
        FROM {schema}.owsuper_gates AS o
        WHERE o.namespace_id = namespace AND o.tat < now()
        ORDER BY o.namespace_id, o.tat
        LIMIT 3
        FOR UPDATE SKIP LOCKED
    ));
    IF with_others THEN
        RETURN QUERY
        SELECT t.step_name, t.at, 'other'::text, NULL::double precision
        FROM {schema}.owsuper_turns AS t
        WHERE t.namespace_id = namespace AND t.workflow_run_id >= run AND t.workflow_run_id <= run
            AND t.step_name <> step
        ORDER BY t.namespace_id, t.workflow_run_id, t.step_name;
    END IF;
END
$function$;

-- With a higher rate, what waits may come back earlier: a run that a worker has, when it is parked (see
-- owsuper_free).
--
-- Without statistics, the server would compare each turn with each run that waits.
CREATE OR REPLACE FUNCTION {schema}.owsuper_rate_changed() RETURNS trigger
LANGUAGE plpgsql SET enable_nestloop = off SET enable_mergejoin = off SET jit = off AS $function$
DECLARE
    moment CONSTANT timestamptz := pg_catalog.clock_timestamp();
    faster CONSTANT double precision := (
        NEW.period / greatest(coalesce(NEW.set_amount, NEW.amount), 1)
    ) / (OLD.period / greatest(coalesce(OLD.set_amount, OLD.amount), 1));
BEGIN
    IF faster >= 1 THEN
        RETURN NULL;
    END IF;
    PERFORM
    FROM {schema}.owsuper_gates AS g
    WHERE g.namespace_id = NEW.namespace_id AND g.limit_name = NEW.name
    ORDER BY g.key
    FOR UPDATE;
    UPDATE {schema}.owsuper_gates AS g
    SET again = greatest(g.again, moment) - (1 - faster) * (greatest(g.again, moment) - moment)
    WHERE g.namespace_id = NEW.namespace_id AND g.limit_name = NEW.name;
    -- The runs are locked before their turns, as by whoever ends them.
    WITH locked AS MATERIALIZED (
        SELECT r.*
        FROM (
            SELECT DISTINCT t.workflow_run_id AS id
            FROM {schema}.owsuper_turns AS t
            WHERE t.namespace_id = NEW.namespace_id AND t.limit_name = NEW.name AND t.at > moment
            ORDER BY t.workflow_run_id
        ) AS w
        CROSS JOIN LATERAL (
            SELECT q.id, q.status, q.worker_id, q.available_at
            FROM {schema}.workflow_runs AS q
            WHERE q.namespace_id = NEW.namespace_id AND q.id >= w.id AND q.id <= w.id
            ORDER BY q.id
            LIMIT 1
            FOR NO KEY UPDATE
        ) AS r
    ),
    earlier AS (
        UPDATE {schema}.owsuper_turns AS t
        SET at = t.at - (1 - faster) * (t.at - moment),
            moved = t.moved OR o.worker_id IS NOT NULL
        FROM locked AS o
        WHERE o.id = t.workflow_run_id AND t.namespace_id = NEW.namespace_id AND t.limit_name = NEW.name AND t.at > moment
            AND (SELECT pg_catalog.count(*) FROM locked) > 0
        RETURNING t.workflow_run_id AS id, t.at
    )
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at,
        available_at
    )
    SELECT
        NEW.namespace_id, l.id, '', '', '{}', 0, pg_catalog.now(), pg_catalog.now(), e.at
    FROM (SELECT w.id, pg_catalog.min(w.at) AS at FROM earlier AS w GROUP BY w.id) AS e
    JOIN locked AS l ON l.id = e.id
    WHERE l.worker_id IS NULL AND l.status = 'running' AND l.available_at > e.at
        AND l.available_at < '9999-01-01 00:00:00+00'  -- it waits for a place
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET available_at = excluded.available_at;
    RETURN NULL;
END
$function$;

-- Its name is after that of the trigger whose lock keeps claims away.
DROP TRIGGER IF EXISTS owsuper_rate_changed ON {schema}.owsuper_limits;
CREATE TRIGGER owsuper_rate_changed
    AFTER UPDATE OF amount, set_amount, period ON {schema}.owsuper_limits
    FOR EACH ROW
    WHEN (NEW.kind = 'rate' AND OLD.kind = 'rate')
    EXECUTE FUNCTION {schema}.owsuper_rate_changed();
