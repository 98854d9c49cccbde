-- Let autovacuum come before a fifth of a large table is dead.
--
-- Each run leaves some dead rows: of its claim, its end, and its deletion. By default autovacuum waits
-- for dead rows of a fifth of the table: for millions, if many runs are kept. Until then claims go
-- past dead index entries, and the space of deleted runs is not used again. A fiftieth is enough for
-- that; a vacuum that finds few dead rows goes through no index.
--
-- Whoever has set a storage parameter of a table knows better: that table is left alone. So is every
-- table if the setting owsuper.autovacuum is 'off'. This is done once: a later ALTER TABLE ... RESET
-- stays.
DO $block$
DECLARE
    name text;
BEGIN
    IF pg_catalog.current_setting('owsuper.autovacuum', true) = 'off' THEN
        RETURN;
    END IF;
    FOR name IN
        SELECT c.relname
        FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace = pg_catalog.to_regnamespace('{schema}') AND c.reloptions IS NULL
            AND c.relname IN (
                'workflow_runs', 'step_attempts', 'workflow_signals', 'owsuper_log_lines'
            )
    LOOP
        EXECUTE pg_catalog.format(
            'ALTER TABLE {schema}.%I SET (autovacuum_vacuum_scale_factor = 0.02,'
            ' autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0.05)',
            name
        );
    END LOOP;
END
$block$;
