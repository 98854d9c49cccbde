-- Undoing runs whose steps have undos. A worker notes "undo" in the config of a run before the first
-- such step begins (see mark_undo). When the run fails or is canceled, by whatever program, a run of
-- the workflow "undo:NAME" begins in the same transaction, which executes the undos. Each of the two
-- runs names the other in its context, which other implementations ignore. Its attributes are those
-- of the run.
--
-- The name is another one, because workers of earlier releases, and of other implementations, would
-- execute a run of the same name as a new one. Workers claim the name once they know that some run of
-- their workflow was undone: the first one adds the workflow to a table, and tells them.
--
-- Nothing else has the note, so for all other runs the trigger costs a comparison of the status.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_undone_workflows (
    namespace_id text NOT NULL,
    workflow_name text NOT NULL,
    has_version boolean NOT NULL,
    version text NOT NULL,
    PRIMARY KEY (namespace_id, workflow_name, has_version, version)
);

-- The rights are those of the tables' owner, because the program that ends the run may know nothing of
-- this table. Names are qualified: its search_path may be anything. The run is updated by ON CONFLICT,
-- which always finds it through the primary key (see commit).
CREATE OR REPLACE FUNCTION {schema}.owsuper_begin_undo() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    undo text := pg_catalog.gen_random_uuid()::text;
BEGIN
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, version, status, config, context, input, attempts,
        available_at, created_at, updated_at
    )
    VALUES (
        NEW.namespace_id, undo, 'undo:' || NEW.workflow_name, NEW.version, 'pending', '{}',
        jsonb_strip_nulls(jsonb_build_object(
            'traceContext', NEW.context -> 'traceContext', 'undoOf', NEW.id
        )),
        jsonb_build_object('run', NEW.id), 0, now(), date_trunc('milliseconds', now()), now()
    );
    INSERT INTO {schema}.workflow_runs AS r (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at, context
    )
    VALUES (
        NEW.namespace_id, NEW.id, '', '', '{}', 0, now(), now(),
        CASE WHEN jsonb_typeof(NEW.context) = 'object' THEN NEW.context ELSE '{}' END
            || jsonb_build_object('undoneBy', undo)
    )
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET context = excluded.context;
    INSERT INTO {schema}.owsuper_run_attributes (
        namespace_id, workflow_run_id, name, value, run_created_at
    )
    SELECT namespace_id, undo, name, value, date_trunc('milliseconds', now())
    FROM {schema}.owsuper_run_attributes
    WHERE namespace_id = NEW.namespace_id
        AND workflow_run_id >= NEW.id AND workflow_run_id <= NEW.id;
    INSERT INTO {schema}.owsuper_undone_workflows (
        namespace_id, workflow_name, has_version, version
    )
    VALUES (
        NEW.namespace_id, NEW.workflow_name, NEW.version IS NOT NULL, coalesce(NEW.version, '')
    )
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM pg_notify(
            concat('owsuper-workers:', substr(md5(
                concat(TG_TABLE_SCHEMA, '/', NEW.namespace_id)
            ), 1, 24)),
            'undo:'
        );
    END IF;
    RETURN NULL;
END
$function$;

DROP TRIGGER IF EXISTS owsuper_undo ON {schema}.workflow_runs;
CREATE TRIGGER owsuper_undo
    AFTER UPDATE OF status ON {schema}.workflow_runs
    FOR EACH ROW
    WHEN (
        CASE
            WHEN NEW.status NOT IN ('failed', 'canceled')
                OR OLD.status IN ('completed', 'succeeded', 'failed', 'canceled')
                THEN false
            ELSE NEW.config @> '{"owsuper": {"undo": true}}'
                AND (NEW.context ->> 'undoneBy') IS NULL
        END
    )
    EXECUTE FUNCTION {schema}.owsuper_begin_undo();
