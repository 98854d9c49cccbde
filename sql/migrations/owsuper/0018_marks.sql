-- A transaction that does not ring the bell leaves a mark until it has committed, so that workers
-- know whether they have to look again.
--
-- The bell (0003, 0007) rings for one of the transactions in flight. Others may commit after it,
-- unheard. Each of them now holds the mark, a shared lock, before it tries the bell. Locks are
-- released when a transaction is visible and before its notification is sent. So a worker that has
-- heard the bell, and then finds that nobody holds the mark, has nothing more to wait for: what it
-- reads after that is all that this bell stood for. Who looks for the mark holds it exclusively for
-- an instant (see claim). A transaction that meets this instant cannot leave a mark, and notifies.
--
-- The notification carries the id of the transaction. Workers take turns in answering, by a hash of
-- it (owsuper/supervisor/turns.py). Workers of earlier versions ignore it. It is the same for all
-- rows of a transaction, so that the server sends one notification for all.
--
-- The key of the mark is that of the bell with another last bit.
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
                TG_RELID::integer, pg_catalog.hashtext(NEW.namespace_id)
            )
        )
        AND pg_catalog.pg_notify(
            pg_catalog.concat('owsuper:', pg_catalog.substr(pg_catalog.md5(
                pg_catalog.concat(TG_TABLE_SCHEMA, '/', NEW.namespace_id)
            ), 1, 24)),
            pg_catalog.concat(pg_catalog.pg_current_xact_id())
        ) IS NULL
    THEN
        NULL;
    END IF;
    RETURN NULL;
END
$function$;
