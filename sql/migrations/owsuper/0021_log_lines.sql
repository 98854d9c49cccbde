-- The log lines of runs, which workers store with --keep-logs. No worker reads them.
--
-- Written by one thread of each child process, apart from the commits of its runs: many lines in one
-- statement, without waiting for the disk (see store_log_lines). Lines may be lost, with a crash or
-- because there are too many; the log of the worker says how many.
--
-- Read by a run, in the order of "id" (see list_log_lines): "id > cursor ORDER BY id LIMIT n", by the
-- primary key. One process at a time executes a run and stores its lines in the order in which they
-- were made, so "id" is the order in which they were made. A statement that stores lines has a time-out
-- of a few seconds. When a run goes from one process to another, the lines of the former may appear up
-- to that much later, with lower ids. Who follows a run reads again what it got in that time.
--
-- Deleted by age, by workers with --keep-logs (see forget_log_lines), and with their run. "stored_at"
-- is the time of the statement, the same for many lines, so its index is small. "logged_at" is by the
-- clock of the host.
--
-- "level" is a number as in Python's logging: 10 debug, 20 info, 30 warning, 40 error, 50 critical.
-- "step" and "attempt" are null between steps. "exception" is the traceback. "fields" holds further
-- values, an object of JSON; null without any. Long texts are cut, and say so.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_log_lines (
    namespace_id text NOT NULL,
    workflow_run_id text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    stored_at timestamptz NOT NULL DEFAULT now(),
    logged_at timestamptz NOT NULL,
    level smallint NOT NULL,
    logger text NOT NULL,
    message text NOT NULL,
    exception text,
    step text,
    attempt integer,
    host text NOT NULL,
    pid integer NOT NULL,
    fields jsonb,
    PRIMARY KEY (namespace_id, workflow_run_id, id)
);

CREATE INDEX IF NOT EXISTS owsuper_log_lines_stored_idx
    ON {schema}.owsuper_log_lines (namespace_id, stored_at);

-- For the rest of these functions see 0016_post_mortems.
CREATE OR REPLACE FUNCTION {schema}.owsuper_forget_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    DELETE FROM {schema}.owsuper_post_mortems AS dead
    USING deleted
    WHERE dead.namespace_id = deleted.namespace_id AND dead.workflow_run_id = deleted.id;
    DELETE FROM {schema}.owsuper_log_lines AS line
    USING deleted
    WHERE line.namespace_id = deleted.namespace_id AND line.workflow_run_id = deleted.id;
    RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION {schema}.owsuper_forget_all() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    DELETE FROM {schema}.owsuper_post_mortems;
    DELETE FROM {schema}.owsuper_log_lines;
    RETURN NULL;
END
$function$;
