-- What the supervisors of a namespace say about how long to keep runs.
--
-- Called by: the supervisor that deletes old runs, PruneQueries.rules, before each pass; owsuper
-- doctor. $1 namespace.
-- Returns one row: a JSON array with the --retain of each supervisor that has one.
--
-- Index: the primary key of our table, whose rows of this namespace are few. Locks: none.
SELECT coalesce(json_agg(status -> 'retain'), '[]')::text
FROM {schema}.owsuper_supervisors
WHERE namespace_id = $1 AND announced_at > now() - interval '10 minutes'
    AND jsonb_typeof(status -> 'retain') = 'array'
