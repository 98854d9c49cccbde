-- When a run that may begin at once is due: one level of its priority counts as a minute of waiting.
--
-- Needs: config, that of the run, which may be NULL. SQL may have stored anything in it.
-- Index: none; this reads no table.
now() - CASE
            WHEN jsonb_typeof(config -> 'owsuper' -> 'priority') = 'number'
            THEN least(greatest((config -> 'owsuper' ->> 'priority')::double precision, 0), 100)
            ELSE 0
        END * interval '1 minute'
