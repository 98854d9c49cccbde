-- The bell again, at less than half the price for whoever inserts. A condition of a trigger is
-- parsed anew by every statement, which costs an INSERT of one row more than calling this
-- function does; a setting that is local to the transaction costs as much again at its end. So
-- the trigger for INSERT has no condition, and the function keeps no note: a transaction of many
-- rows asks for a lock that it has, and for a notification that the server knows to be the same.
-- What is left is the notification itself.
--
-- The key of the lock is the table and the namespace.
CREATE OR REPLACE FUNCTION {schema}.owsuper_ring_bell() RETURNS trigger
LANGUAGE plpgsql AS $function$
BEGIN
    -- One expression, since PERFORM would start the whole executor for the call.
    IF NEW.worker_id IS NULL AND NEW.available_at IS NOT NULL
        AND pg_catalog.pg_try_advisory_xact_lock(
            TG_RELID::integer, pg_catalog.hashtext(NEW.namespace_id)
        )
        AND pg_catalog.pg_notify(
            pg_catalog.concat('owsuper:', pg_catalog.substr(pg_catalog.md5(
                pg_catalog.concat(TG_TABLE_SCHEMA, '/', NEW.namespace_id)
            ), 1, 24)), ''
        ) IS NULL
    THEN
        NULL;
    END IF;
    RETURN NULL;
END
$function$;

DROP TRIGGER IF EXISTS owsuper_bell ON {schema}.workflow_runs;
CREATE CONSTRAINT TRIGGER owsuper_bell
    AFTER INSERT ON {schema}.workflow_runs
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW
    EXECUTE FUNCTION {schema}.owsuper_ring_bell();

-- Parked, retried, woken or released. Not claims and heartbeats (owned), not ends (no due time).
DROP TRIGGER IF EXISTS owsuper_bell_again ON {schema}.workflow_runs;
CREATE CONSTRAINT TRIGGER owsuper_bell_again
    AFTER UPDATE OF available_at ON {schema}.workflow_runs
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW
    WHEN (NEW.worker_id IS NULL AND NEW.available_at IS NOT NULL)
    EXECUTE FUNCTION {schema}.owsuper_ring_bell();
