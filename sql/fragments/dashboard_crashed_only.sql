-- Whether a run was given up because it kept killing its process, if only such runs are wanted.
--
-- Needs: $1 namespace, $15 whether only such runs are wanted; c, a row of workflow_runs.
-- Index: owsuper_post_mortems_pkey.
-- Not in the WHERE of the subquery, where it would invite the index of all runs that were given up.
NOT $15::boolean OR (
    SELECT bool_or(given_up)
    FROM {schema}.owsuper_post_mortems
    WHERE namespace_id = $1 AND workflow_run_id = c.id
)
