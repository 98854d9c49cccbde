-- Values of a run: their sizes, and the texts of those that are not too large.
--
-- Called by: the dashboard, RunPageQueries.values.
-- $1 namespace, $2 run id, $3 names of columns, $4 the most bytes that a value may take where it is
-- stored to be read at all, $5 the most bytes of a text, $6 whether to cut longer texts.
-- Returns for each column that is not NULL: its name, the bytes where it is stored, and those of the
-- text and the text, which are NULL if the value was not read. The text is NULL, or cut, if it is too
-- large.
--
-- pg_column_size does not read a value that is stored out of line.
--
-- Index: workflow_runs_pkey. Locks: none.
-- For the form of the conditions see commit.
SELECT
    v.name, pg_column_size(v.value), octet_length(t.text),
    CASE
        WHEN octet_length(t.text) <= $5::integer THEN t.text
        WHEN $6::boolean THEN left(t.text, $5::integer / 4)
    END
FROM (
    SELECT *
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= $2 AND id <= $2
    ORDER BY id
    LIMIT 1
) AS r
CROSS JOIN LATERAL (
    VALUES
        ('input', r.input), ('output', r.output), ('error', r.error), ('context', r.context),
        ('config', r.config)
) AS v (name, value)
CROSS JOIN LATERAL (
    SELECT CASE WHEN pg_column_size(v.value) <= $4::integer THEN v.value::text END AS text
    OFFSET 0
) AS t
WHERE v.value IS NOT NULL AND v.name = ANY ($3::text[])
