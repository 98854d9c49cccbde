-- Note runs that may park before this transaction commits, and not see its signal: they are woken as
-- it commits, see migration unaware.
--
-- Called by: clients, SignalQueries.note_unaware, after send_signal in a transaction of the caller's.
-- $1 namespace, $2 ids of the runs (JSON array). Returns one row.
--
-- Index: owsuper_unaware_pkey. Locks: as the transaction commits, the runs, FOR NO KEY UPDATE, in id
-- order, waiting for each at most 50 ms.
INSERT INTO {schema}.owsuper_unaware (namespace_id, id, run_ids)
SELECT $1, gen_random_uuid()::text, ARRAY(
    SELECT run FROM json_array_elements_text($2::json) AS run ORDER BY run COLLATE "C"
)
RETURNING id
