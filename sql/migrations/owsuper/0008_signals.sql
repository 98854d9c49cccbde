-- Signals that reached nobody and were sent with the wish that they be kept: each for the first
-- step that begins to wait for it.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_signals (
    namespace_id text NOT NULL,
    id text NOT NULL,
    signal text NOT NULL,
    data jsonb,
    sender_idempotency_key text,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, id)
);

CREATE INDEX IF NOT EXISTS owsuper_signals_idx
    ON {schema}.owsuper_signals (namespace_id, signal, created_at, id);
