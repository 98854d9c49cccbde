-- Values of step attempts of a run: their sizes, and the texts of those that are not too large.
--
-- Called by: the dashboard, RunPageQueries.attempt_values.
-- $1 namespace, $2 run id, $3 ids of attempts, $4 names of columns, $5 the most bytes that a value may
-- take where it is stored to be read at all, $6 the most bytes of a text, $7 whether to cut longer texts.
-- Returns for each column that is not NULL: the id of the attempt, and the columns of
-- dashboard_run_values.
--
-- Index: step_attempts_pkey; the primary key of our own table. Locks: none.
SELECT
    s.id, v.name, pg_column_size(v.value), octet_length(t.text),
    CASE
        WHEN octet_length(t.text) <= $6::integer THEN t.text
        WHEN $7::boolean THEN left(t.text, $6::integer / 4)
    END
FROM (
    SELECT id, output, error, context, config
    FROM {schema}.step_attempts
    WHERE namespace_id = $1 AND id = ANY ($3::text[]) AND workflow_run_id = $2
    UNION ALL
    SELECT id, output, error, context, NULL
    FROM {schema}.owsuper_retried_attempts
    WHERE namespace_id = $1 AND workflow_run_id = $2 AND id = ANY ($3::text[])
) AS s
CROSS JOIN LATERAL (
    VALUES
        ('output', s.output), ('error', s.error), ('context', s.context), ('config', s.config)
) AS v (name, value)
CROSS JOIN LATERAL (
    SELECT CASE WHEN pg_column_size(v.value) <= $5::integer THEN v.value::text END AS text
    OFFSET 0
) AS t
WHERE v.value IS NOT NULL AND v.name = ANY ($4::text[])
