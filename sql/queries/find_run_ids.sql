-- The ids of runs that begin with a text; the run whose id is that text comes first.
--
-- Called by: clients, ListQueries.find_ids. $1 namespace, $2 the text, $3 and $4 bounds of the ids
-- that begin with $2 up to its last digit, $5 how many ids at most.
--
-- The database's collation orders the ids, and a language may sort two letters as one ("aa" after
-- "z"), but never a digit and a letter. So the scan reads all ids that begin with the text up to
-- its last digit, and leaves out those that do not begin with the whole text. It stops at the
-- limit. A text without a digit makes it read all ids of the namespace.
--
-- Index: workflow_runs_pkey. Locks: none.
(
    SELECT id
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= $2 AND id <= $2
    ORDER BY id
    LIMIT 1
)
UNION ALL
(
    SELECT id
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= $3 AND id <= $4
        AND starts_with(id, $2) AND id <> $2
    ORDER BY id
    LIMIT $5::integer
)
