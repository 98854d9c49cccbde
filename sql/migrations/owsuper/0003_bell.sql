-- The bell: a notification, without payload, that some run of a namespace is due or got a due
-- time. It is a hint; whoever hears it asks the table.
--
-- Transactions that notify commit one after the other, each waiting for the disk alone. So at
-- most one of those in flight rings: the one that gets the lock. Another may commit after it,
-- unheard, which is why listeners look again a few times before they trust silence.
--
-- The trigger is deferred, so that a long transaction takes the lock only as it commits. Every
-- row calls the function; the first leaves a note in a transaction-local setting that sends
-- the other twenty thousand home. Names are qualified: the caller's search_path may be
-- anything.
CREATE OR REPLACE FUNCTION {schema}.owsuper_ring_bell() RETURNS trigger
LANGUAGE plpgsql AS $function$
DECLARE
    place text := pg_catalog.concat(TG_TABLE_SCHEMA, '/', NEW.namespace_id);
    noted text;
BEGIN
    IF pg_catalog.current_setting('owsuper.bell_seen', true) = place THEN
        RETURN NULL;
    END IF;
    -- An assignment, since PERFORM would start the whole executor for it.
    noted := pg_catalog.set_config('owsuper.bell_seen', place, true);
    IF pg_catalog.pg_try_advisory_xact_lock(
        pg_catalog.hashtext('owsuper'), pg_catalog.hashtext(place)
    ) THEN
        PERFORM pg_catalog.pg_notify(
            pg_catalog.concat('owsuper:', pg_catalog.substr(pg_catalog.md5(place), 1, 24)), ''
        );
    END IF;
    RETURN NULL;
END
$function$;

-- Unowned with a due time: new, parked, retried, woken or released. Not claims and heartbeats
-- (owned), not ends (no due time).
DROP TRIGGER IF EXISTS owsuper_bell ON {schema}.workflow_runs;
CREATE CONSTRAINT TRIGGER owsuper_bell
    AFTER INSERT OR UPDATE OF available_at ON {schema}.workflow_runs
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW
    WHEN (NEW.worker_id IS NULL AND NEW.available_at IS NOT NULL)
    EXECUTE FUNCTION {schema}.owsuper_ring_bell();
