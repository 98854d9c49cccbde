-- Signals of a step that skips what does not fit its type (on_invalid="skip"), besides the signal
-- that the step reads next. The signal itself is a row of workflow_signals with the same id, whose
-- step_attempt_id is no step's.
--
-- With skipped_at, the step has skipped the signal, for the reason given. Without it, the signal
-- was sent while another waited to be read, and takes the place of that one if it is skipped.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_further_signals (
    namespace_id text NOT NULL,
    workflow_run_id text NOT NULL,
    step_attempt_id text NOT NULL,
    id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    skipped_at timestamptz,
    step_name text,
    reason text,
    PRIMARY KEY (namespace_id, workflow_run_id, step_attempt_id, id)
);
