-- As start, of runs of which some have attributes.
--
-- Called by: clients, ClientQueries.start and start_many. $1 and $2 as in start.
-- A run that exists keeps its attributes.
--
-- Index: none is read but primary keys. Locks: none.
WITH started AS (
    {fragments/new_runs}
    ON CONFLICT (namespace_id, id) DO NOTHING
    RETURNING id, created_at
)
{fragments/new_run_attributes}
