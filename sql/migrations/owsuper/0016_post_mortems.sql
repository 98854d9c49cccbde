-- How the processes died that executed a run, for as long as the run is kept. owsuper_crashes
-- counts, and forgets when the run ends; this remembers, and decides nothing.
--
-- "counted" says whether the death counted as a crash of the run; "given_up", whether the run failed
-- because of it and has not been retried since.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_post_mortems (
    namespace_id text NOT NULL,
    workflow_run_id text NOT NULL,
    crash_id text NOT NULL,
    died_at timestamptz NOT NULL DEFAULT now(),
    run_created_at timestamptz NOT NULL,
    counted boolean NOT NULL,
    given_up boolean NOT NULL DEFAULT false,
    evidence jsonb NOT NULL,
    PRIMARY KEY (namespace_id, workflow_run_id, crash_id)
);

-- In the order of a list of runs.
CREATE INDEX IF NOT EXISTS owsuper_post_mortems_given_up_idx
    ON {schema}.owsuper_post_mortems (namespace_id, run_created_at, workflow_run_id)
    WHERE given_up;

-- Who deletes a run deletes its post-mortems, whatever program that is. A foreign key with ON DELETE
-- CASCADE would do that, too, but every update of a run would pay for it, and migrations of
-- OpenWorkflow would meet it. The rights are those of the tables' owner, because the program may
-- know nothing of this table. Names are qualified: its search_path may be anything.
CREATE OR REPLACE FUNCTION {schema}.owsuper_forget_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    DELETE FROM {schema}.owsuper_post_mortems AS dead
    USING deleted
    WHERE dead.namespace_id = deleted.namespace_id AND dead.workflow_run_id = deleted.id;
    RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION {schema}.owsuper_forget_all() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    DELETE FROM {schema}.owsuper_post_mortems;
    RETURN NULL;
END
$function$;

DROP TRIGGER IF EXISTS owsuper_deleted ON {schema}.workflow_runs;
CREATE TRIGGER owsuper_deleted
    AFTER DELETE ON {schema}.workflow_runs
    REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT
    EXECUTE FUNCTION {schema}.owsuper_forget_deleted();

DROP TRIGGER IF EXISTS owsuper_truncated ON {schema}.workflow_runs;
CREATE TRIGGER owsuper_truncated
    AFTER TRUNCATE ON {schema}.workflow_runs
    FOR EACH STATEMENT
    EXECUTE FUNCTION {schema}.owsuper_forget_all();
