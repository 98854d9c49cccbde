-- Put an amount in the place of that of the code, or take it away.
--
-- Called by: clients, LimitReads.set. $1 namespace, $2 the limit, $3 the amount; NULL for that of the
-- code. Returns the name; no row if there is no such limit.
--
-- Index: owsuper_limits_pkey. Locks: the limit.
UPDATE {schema}.owsuper_limits
SET set_amount = $3::integer
WHERE namespace_id = $1 AND name = $2
RETURNING name
