-- Whether a step attempt waits for a signal.
--
-- Needs: $1 namespace, $2 signal; rows of step_attempts.
-- Index: step_attempts_signal_wait_idx.
namespace_id = $1 AND kind = 'signal-wait' AND status = 'running'
AND (context ->> 'signal') = $2
