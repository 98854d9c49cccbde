-- As start_with_key, of a run with attributes.
--
-- Called by: clients, ClientQueries.start, in one transaction with start_lock. $1 to $5 and the result
-- as in start_with_key. A run that is found keeps its attributes.
--
-- Index: those of start_with_key and start_with_attributes. Locks: none.
WITH {fragments/found_by_key},
started AS (
    {fragments/new_runs}
    WHERE NOT EXISTS (SELECT FROM found)
    RETURNING id, created_at
),
described AS (
    {fragments/new_run_attributes}
)
SELECT id FROM found UNION ALL SELECT id FROM started
