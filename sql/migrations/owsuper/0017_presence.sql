-- What a supervisor says about itself every few seconds, for people: its version, and its state with
-- its child processes as a JSON object (see owsuper/supervisor/announcement.py). NULL until it has
-- said something.
--
-- A supervisor behind a connection pooler holds no lock (pooled), so its row is only as good as
-- announced_at. Its lease_seconds is 0, so that workers of earlier versions, which take the free
-- lock for a death, release nothing of it.
ALTER TABLE {schema}.owsuper_supervisors
    ADD COLUMN IF NOT EXISTS pooled boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS announced_at timestamptz,
    ADD COLUMN IF NOT EXISTS version text,
    ADD COLUMN IF NOT EXISTS status jsonb;

-- Rows are updated often and in place, and there are few of them.
ALTER TABLE {schema}.owsuper_supervisors SET (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 500
);
