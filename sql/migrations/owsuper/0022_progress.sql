-- How far each run is, as its code last said by step.set_progress. No worker reads it.
--
-- One row a run, by its primary key (see get_progress). Written by one thread of each child process,
-- apart from the commits of its runs: at most about once a second for each run, many runs in one
-- statement, without waiting for the disk (see store_progress). The last value stays when the run ends,
-- and is deleted with the run.
--
-- "total" is null if the code did not say how much there is to do. "done" may be more than "total".
-- "step" is the key of the step whose function said it, null for the workflow function itself.
--
-- The row is updated in place, so pages are left half empty, and no index has a changed column.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_progress (
    namespace_id text NOT NULL,
    workflow_run_id text NOT NULL,
    done double precision NOT NULL,
    total double precision,
    message text,
    step text,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, workflow_run_id)
) WITH (fillfactor = 50);

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
    DELETE FROM {schema}.owsuper_progress AS progress
    USING deleted
    WHERE progress.namespace_id = deleted.namespace_id AND progress.workflow_run_id = deleted.id;
    RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION {schema}.owsuper_forget_all() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    DELETE FROM {schema}.owsuper_post_mortems;
    DELETE FROM {schema}.owsuper_log_lines;
    DELETE FROM {schema}.owsuper_progress;
    RETURN NULL;
END
$function$;
