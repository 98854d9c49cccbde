-- Status of a step attempt.
--
-- Called by: children, RunStore.has_stored, after lock_claim, which the statement must not share: only
-- the next one sees what the transactions that it waited for have committed.
-- $1 namespace, $2 step attempt id. Returns no row if there is no such attempt.
--
-- Index: step_attempts_pkey. Locks: none.
-- For the form of the conditions see commit.
SELECT status
FROM {schema}.step_attempts
WHERE namespace_id = $1 AND id >= $2 AND id <= $2
ORDER BY id
LIMIT 1
