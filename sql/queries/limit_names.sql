-- The names of the limits of a namespace.
--
-- Called by: clients, for the message about a name that there is not. $1 namespace, $2 the most names.
--
-- Index: owsuper_limits_pkey. Locks: none.
SELECT name
FROM {schema}.owsuper_limits
WHERE namespace_id = $1
ORDER BY name
LIMIT $2::integer
