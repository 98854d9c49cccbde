-- A run that is stored with a due time in the past, as runs with a priority are, comes before runs
-- that wait already. Workers do not read the beginning of a queue with every claim, where the entries
-- of claimed runs stand (owsuper/supervisor/watermark.py). So the notification says that there is such a
-- run: its payload begins with "early:", and workers look back to the beginning. Workers of earlier
-- releases hear a notification like any other.
--
-- Such transactions have a bell of their own, so that one of those in flight always says it. Its key
-- is that of the bell with another bit. For the rest of the function see 0018_marks.
CREATE OR REPLACE FUNCTION {schema}.owsuper_ring_bell() RETURNS trigger
LANGUAGE plpgsql AS $function$
BEGIN
    -- One expression, since PERFORM would start the whole executor for the call.
    IF NEW.worker_id IS NULL AND NEW.available_at IS NOT NULL
        AND (
            NOT pg_catalog.pg_try_advisory_xact_lock_shared(
                TG_RELID::integer, pg_catalog.hashtext(NEW.namespace_id) # 1
            )
            OR pg_catalog.pg_try_advisory_xact_lock(
                TG_RELID::integer,
                CASE
                    WHEN NEW.available_at < pg_catalog.now() - interval '250 ms'
                        THEN pg_catalog.hashtext(NEW.namespace_id) # 2
                    ELSE pg_catalog.hashtext(NEW.namespace_id)
                END
            )
        )
        AND pg_catalog.pg_notify(
            pg_catalog.concat('owsuper:', pg_catalog.substr(pg_catalog.md5(
                pg_catalog.concat(TG_TABLE_SCHEMA, '/', NEW.namespace_id)
            ), 1, 24)),
            pg_catalog.concat(
                CASE
                    WHEN NEW.available_at < pg_catalog.now() - interval '250 ms' THEN 'early:'
                END,
                pg_catalog.pg_current_xact_id()
            )
        ) IS NULL
    THEN
        NULL;
    END IF;
    RETURN NULL;
END
$function$;
