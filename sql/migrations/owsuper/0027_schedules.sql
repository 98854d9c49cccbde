-- Schedules, and what became of their latest ticks.
--
-- A schedule is declared in the code of workers ("declared_in" names their modules), or made by hand.
-- "next_at" is the next tick, NULL if there is none any more. The statement that starts the run of a
-- tick (fire_tick) moves it on, so that a tick fires once. "previous_at" is the latest tick that has
-- started a run. "open_runs" are the latest runs that had not ended when the last tick fired, and
-- "queued" the ticks that wait for their end.
--
-- What two deployments declare differently is settled by "declarations": when each declaration was
-- seen first, by its fingerprint. The newest is "fingerprint"; "confirmed_at" is when a worker has last
-- declared it. See declare_schedules.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_schedules (
    namespace_id text NOT NULL,
    name text NOT NULL,
    workflow_name text NOT NULL,
    version text,
    cron text,
    every_seconds double precision,
    timezone text NOT NULL,
    starts_at timestamptz,
    ends_at timestamptz,
    jitter_seconds double precision NOT NULL,
    catch_up text NOT NULL,
    catch_up_limit integer NOT NULL,
    overlap text NOT NULL,
    takes_tick boolean NOT NULL,
    input jsonb,
    config jsonb NOT NULL DEFAULT '{}',
    next_at timestamptz,
    previous_at timestamptz,
    open_runs text[] NOT NULL DEFAULT '{}',
    queued timestamptz[] NOT NULL DEFAULT '{}',
    paused_at timestamptz,
    removed_at timestamptz,
    declared_in text,
    fingerprint text,
    declarations jsonb NOT NULL DEFAULT '{}',
    confirmed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, name)
);

CREATE INDEX IF NOT EXISTS owsuper_schedules_due_idx
    ON {schema}.owsuper_schedules (namespace_id, next_at)
    WHERE paused_at IS NULL AND removed_at IS NULL AND next_at IS NOT NULL;

CREATE INDEX IF NOT EXISTS owsuper_schedules_queued_idx
    ON {schema}.owsuper_schedules (namespace_id)
    WHERE queued <> '{}' AND paused_at IS NULL AND removed_at IS NULL;

CREATE INDEX IF NOT EXISTS owsuper_schedules_declared_idx
    ON {schema}.owsuper_schedules (namespace_id)
    WHERE declared_in IS NOT NULL;

-- The latest ticks of each schedule (fire_tick forgets older ones). "outcome" is fired, queued,
-- skipped (a run of the schedule had not ended) or missed (nobody served).
CREATE TABLE IF NOT EXISTS {schema}.owsuper_ticks (
    namespace_id text NOT NULL,
    schedule text NOT NULL,
    at timestamptz NOT NULL,
    outcome text NOT NULL,
    run_id text,
    decided_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, schedule, at),
    FOREIGN KEY (namespace_id, schedule) REFERENCES {schema}.owsuper_schedules ON DELETE CASCADE
);
