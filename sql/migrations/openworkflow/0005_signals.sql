-- Deliveries of signals. The unique index is part of the protocol: one delivery a wait.
CREATE TABLE IF NOT EXISTS {schema}.workflow_signals (
    namespace_id text NOT NULL,
    id text NOT NULL,
    signal text NOT NULL,
    data jsonb,
    sender_idempotency_key text,
    workflow_run_id text NOT NULL,
    step_attempt_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, id)
);

CREATE UNIQUE INDEX IF NOT EXISTS workflow_signals_step_attempt_idx
    ON {schema}.workflow_signals (namespace_id, step_attempt_id);

CREATE INDEX IF NOT EXISTS workflow_signals_idempotency_idx
    ON {schema}.workflow_signals (namespace_id, signal, sender_idempotency_key)
    WHERE sender_idempotency_key IS NOT NULL;

CREATE INDEX IF NOT EXISTS step_attempts_signal_wait_idx
    ON {schema}.step_attempts (namespace_id, (context ->> 'signal'))
    WHERE kind = 'signal-wait' AND status = 'running';
