-- What people and programs know a run by: names with values, such as its tenant. Given when a run is
-- started, or set by its code. No worker reads them.
--
-- Read with a run by the primary key, and in lists by name and value: the index is in the order of a
-- list of runs, for which "run_created_at" is a copy of the run's created_at. The index does not begin
-- with the namespace, as all others do, so that it can never seem good for the attributes of a run. Written in the
-- transaction that starts the run, or that stores a step of it. Deleted with the run.
--
-- Other programs may write here as well, such as those that start runs with OpenWorkflow for
-- TypeScript. A name has 1 to 64 characters and a value at most 256, so that entries of the index
-- have the size that PostgreSQL allows.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_run_attributes (
    namespace_id text NOT NULL,
    workflow_run_id text NOT NULL,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    value text NOT NULL CHECK (length(value) <= 256),
    run_created_at timestamptz NOT NULL,
    PRIMARY KEY (namespace_id, workflow_run_id, name)
);

CREATE INDEX IF NOT EXISTS owsuper_run_attributes_value_idx
    ON {schema}.owsuper_run_attributes
    (name, value, namespace_id, run_created_at, workflow_run_id);

-- For the rest of this function see 0016_post_mortems; 0029_forget_deleted has the other one.
CREATE OR REPLACE FUNCTION {schema}.owsuper_forget_all() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    DELETE FROM {schema}.owsuper_post_mortems;
    DELETE FROM {schema}.owsuper_log_lines;
    DELETE FROM {schema}.owsuper_progress;
    DELETE FROM {schema}.owsuper_run_attributes;
    RETURN NULL;
END
$function$;
