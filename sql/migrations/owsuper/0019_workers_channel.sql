-- A cancellation goes to the channel on which all workers of the namespace listen. Only some of
-- them listen for new runs (owsuper/supervisor/on_call.py). Workers of earlier releases listen on the
-- channel of new runs only, so it goes there as well.
--
-- A worker that executes a run learns at once that somebody canceled it: see 0010_canceled, and for
-- the rest of the function 0004_results.
CREATE OR REPLACE FUNCTION {schema}.owsuper_tell_result() RETURNS trigger
LANGUAGE plpgsql AS $function$
DECLARE
    channel text;
    most CONSTANT integer := 64;
    held integer := coalesce(
        nullif(pg_catalog.current_setting('owsuper.result_locks', true), ''), '0'
    )::integer;
BEGIN
    IF NEW.status = 'canceled' AND OLD.worker_id IS NOT NULL THEN
        FOREACH channel IN ARRAY ARRAY['owsuper-workers:', 'owsuper:'] LOOP
            PERFORM pg_catalog.pg_notify(
                pg_catalog.concat(channel, pg_catalog.substr(pg_catalog.md5(
                    pg_catalog.concat(TG_TABLE_SCHEMA, '/', NEW.namespace_id)
                ), 1, 24)),
                pg_catalog.concat('canceled:', NEW.id)
            );
        END LOOP;
    END IF;
    IF held < most AND pg_catalog.pg_try_advisory_xact_lock(
        pg_catalog.hashtextextended(
            pg_catalog.concat('owsuper:result:', NEW.namespace_id, ':', NEW.id), 0
        )
    ) THEN
        PERFORM pg_catalog.set_config('owsuper.result_locks', (held + 1)::text, true);
    ELSE
        PERFORM pg_catalog.pg_notify(
            pg_catalog.concat(
                'owsuper-results:', pg_catalog.substr(pg_catalog.md5(TG_TABLE_SCHEMA), 1, 24)
            ),
            NEW.id
        );
    END IF;
    RETURN NULL;
END
$function$;
