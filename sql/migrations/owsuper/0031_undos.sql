-- Undoing runs whose steps have undos. A worker notes "undo" in the config of a run before the first
-- such step begins (see mark_undo). When the run fails or is canceled, by whatever program, a run of
-- the workflow "undo:NAME" begins in the same transaction, which executes the undos. Each of the two
-- runs names the other in its context, which other implementations ignore. Its attributes are those
-- of the run.
--
-- The name is another one, because workers of earlier releases, and of other implementations, would
-- execute a run of the same name as a new one. Workers claim the name once they know that some run of
-- their workflow was undone: the first one adds the workflow to a table, and tells them. Several that
-- are the first at the same time add it all: a unique key would make them wait for each other's commit,
-- and those that end runs of several workflows would deadlock.
--
-- Nothing else has the note. The trigger of ends (owsuper_tell_result, in 0030_limits) looks for it
-- together with that of limits, because each trigger more costs every update.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_undone_workflows (
    namespace_id text NOT NULL,
    workflow_name text NOT NULL,
    has_version boolean NOT NULL,
    version text NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    PRIMARY KEY (namespace_id, workflow_name, has_version, version, id)
);

-- The rights are those of the tables' owner, because the program that ends the run may know nothing of
-- this table. Names are qualified: its search_path may be anything. The run is updated by ON CONFLICT,
-- which always finds it through the primary key (see commit).
CREATE OR REPLACE FUNCTION {schema}.owsuper_begin_undo(
    ended {schema}.workflow_runs, place text
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    undo text := pg_catalog.gen_random_uuid()::text;
BEGIN
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, version, status, config, context, input, attempts,
        available_at, created_at, updated_at
    )
    VALUES (
        ended.namespace_id, undo, 'undo:' || ended.workflow_name, ended.version, 'pending', '{}',
        jsonb_strip_nulls(jsonb_build_object(
            'traceContext', ended.context -> 'traceContext', 'undoOf', ended.id
        )),
        jsonb_build_object('run', ended.id), 0, now(), date_trunc('milliseconds', now()), now()
    );
    INSERT INTO {schema}.workflow_runs AS r (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at, context
    )
    VALUES (
        ended.namespace_id, ended.id, '', '', '{}', 0, now(), now(),
        CASE WHEN jsonb_typeof(ended.context) = 'object' THEN ended.context ELSE '{}' END
            || jsonb_build_object('undoneBy', undo)
    )
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET context = excluded.context;
    INSERT INTO {schema}.owsuper_run_attributes (
        namespace_id, workflow_run_id, name, value, run_created_at
    )
    SELECT namespace_id, undo, name, value, date_trunc('milliseconds', now())
    FROM {schema}.owsuper_run_attributes
    WHERE namespace_id = ended.namespace_id
        AND workflow_run_id >= ended.id AND workflow_run_id <= ended.id;
    IF NOT EXISTS (
        SELECT FROM {schema}.owsuper_undone_workflows
        WHERE namespace_id = ended.namespace_id AND workflow_name = ended.workflow_name
            AND has_version = (ended.version IS NOT NULL)
            AND version = coalesce(ended.version, '')
    ) THEN
        INSERT INTO {schema}.owsuper_undone_workflows (
            namespace_id, workflow_name, has_version, version
        )
        VALUES (
            ended.namespace_id, ended.workflow_name, ended.version IS NOT NULL,
            coalesce(ended.version, '')
        );
        PERFORM pg_notify(
            concat(
                'owsuper-workers:', substr(md5(concat(place, '/', ended.namespace_id)), 1, 24)
            ),
            'undo:'
        );
    END IF;
END
$function$;
