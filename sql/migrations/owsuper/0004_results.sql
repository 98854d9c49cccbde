-- Tell whoever waits for a run that it ended, and nobody else.
--
-- A waiter holds a shared advisory lock on the run's key. The transaction that ends the run
-- tries for the exclusive one: if it gets it, nobody waits, and whoever comes before the
-- commit waits for the lock and then reads the outcome. If it does not, it notifies.
--
-- Such locks are held until the commit and live in shared memory that holds some thousands,
-- so a transaction that ends many runs stops asking and just notifies.
--
-- Children end runs by the thousand, no more than 64 in one transaction, and say so in the
-- setting owsuper.few_results. Then the trigger's condition asks for the lock, which spares the
-- call of the function, twenty times as dear, for all runs that nobody waits for.
CREATE OR REPLACE FUNCTION {schema}.owsuper_tell_result() RETURNS trigger
LANGUAGE plpgsql AS $function$
DECLARE
    most CONSTANT integer := 64;
    held integer := coalesce(
        nullif(pg_catalog.current_setting('owsuper.result_locks', true), ''), '0'
    )::integer;
BEGIN
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

DROP TRIGGER IF EXISTS owsuper_result ON {schema}.workflow_runs;
CREATE TRIGGER owsuper_result
    AFTER UPDATE OF status ON {schema}.workflow_runs
    FOR EACH ROW
    WHEN (
        CASE
            WHEN NEW.status NOT IN ('completed', 'succeeded', 'failed', 'canceled')
                OR OLD.status IN ('completed', 'succeeded', 'failed', 'canceled')
                THEN false
            WHEN pg_catalog.current_setting('owsuper.few_results', true) = 'on'
                THEN NOT pg_catalog.pg_try_advisory_xact_lock(
                    pg_catalog.hashtextextended(
                        pg_catalog.concat('owsuper:result:', NEW.namespace_id, ':', NEW.id), 0
                    )
                )
            ELSE true
        END
    )
    EXECUTE FUNCTION {schema}.owsuper_tell_result();
