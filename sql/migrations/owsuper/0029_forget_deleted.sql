-- The rows that belong to deleted runs are found by primary key, whatever the planner knows.
--
-- A session keeps the plans of this function. One that is made while these tables are empty may read
-- all rows of a namespace for each deleted run, until the tables are analyzed: a session that deletes
-- many runs would take minutes. So the rows are read in the order of the primary key, which no
-- other index has, run by run. For the rest of the function see 0016_post_mortems.
CREATE OR REPLACE FUNCTION {schema}.owsuper_forget_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $function$
BEGIN
    DELETE FROM {schema}.owsuper_post_mortems
    WHERE ctid = ANY (ARRAY(
        SELECT theirs.place
        FROM deleted
        CROSS JOIN LATERAL (
            SELECT t.ctid AS place
            FROM {schema}.owsuper_post_mortems AS t
            WHERE t.namespace_id = deleted.namespace_id
                AND t.workflow_run_id >= deleted.id AND t.workflow_run_id <= deleted.id
            ORDER BY t.namespace_id, t.workflow_run_id, t.crash_id
            OFFSET 0
        ) AS theirs
    ));
    DELETE FROM {schema}.owsuper_log_lines
    WHERE ctid = ANY (ARRAY(
        SELECT theirs.place
        FROM deleted
        CROSS JOIN LATERAL (
            SELECT t.ctid AS place
            FROM {schema}.owsuper_log_lines AS t
            WHERE t.namespace_id = deleted.namespace_id
                AND t.workflow_run_id >= deleted.id AND t.workflow_run_id <= deleted.id
            ORDER BY t.namespace_id, t.workflow_run_id, t.id
            OFFSET 0
        ) AS theirs
    ));
    DELETE FROM {schema}.owsuper_progress
    WHERE ctid = ANY (ARRAY(
        SELECT theirs.place
        FROM deleted
        CROSS JOIN LATERAL (
            SELECT t.ctid AS place
            FROM {schema}.owsuper_progress AS t
            WHERE t.namespace_id = deleted.namespace_id
                AND t.workflow_run_id >= deleted.id AND t.workflow_run_id <= deleted.id
            ORDER BY t.namespace_id, t.workflow_run_id
            OFFSET 0
        ) AS theirs
    ));
    DELETE FROM {schema}.owsuper_run_attributes
    WHERE ctid = ANY (ARRAY(
        SELECT theirs.place
        FROM deleted
        CROSS JOIN LATERAL (
            SELECT t.ctid AS place
            FROM {schema}.owsuper_run_attributes AS t
            WHERE t.namespace_id = deleted.namespace_id
                AND t.workflow_run_id >= deleted.id AND t.workflow_run_id <= deleted.id
            ORDER BY t.namespace_id, t.workflow_run_id, t.name
            OFFSET 0
        ) AS theirs
    ));
    RETURN NULL;
END
$function$;
