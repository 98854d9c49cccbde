-- Take a token of a rate for a step that is about to begin, or a turn (see migration step_limits).
--
-- Called by: children, RelatedStore.take_turn, before each attempt of a step with a limit.
-- $1 namespace, $2 run id, $3 worker id (the fence of a turn), $4 workflow, $5 key of the step, $6 the
-- limit (JSON: name, amount, period, burst, path, keyed), $7 key of the limit, $8 when its code was
-- loaded, $9 a token that comes within so many seconds is taken now, $10 whether to return the other
-- turns of the run, too.
-- Returns (step, turn, verdict, seconds). The first row is about this step: "begin" in so many seconds,
-- "wait" until the turn, "lost" if the fence does not hold, "no rate" if a limit of another kind has
-- the name. "other" are other steps. When this is repeated, a token may stay unused.
--
-- Newer code changes the limit that is stored. A step that has no turn comes after those that have
-- one. A step that comes to its turn when the bucket is empty gets another one, soon.
--
-- Index: the primary keys; owsuper_turns_limit_idx; owsuper_gates_tat_idx.
-- Locks: the gate of limit and key; then the run, FOR NO KEY UPDATE, if the step has to wait.
SELECT turn_step, turn_at, verdict, seconds
FROM {schema}.owsuper_take_turn(
    $1, $2, $3, $4, $5, $6::json, $7, $8::timestamptz, $9::double precision, $10::boolean
)
