-- Runs that a signal reached in a caller's transaction while a worker executed them. A worker of
-- OpenWorkflow for TypeScript parks a run, and then looks for signals; it does not see one that is
-- not committed. Other senders look at the run again after their commit (see parked_unaware). Here
-- nobody comes after the commit, so the transaction looks as it commits: a row is inserted with the
-- signal (see note_unaware), and its trigger is deferred, and deletes it.
--
-- Whatever the worker does, it hears of the signal. If it has parked the run, this wakes the run. If
-- not, this holds the run's lock until the commit is visible, the worker parks after that, and then
-- sees the signal. If the worker is parking the run at this moment, this waits for it: not for long,
-- because a worker in Python parks with the signal locked, and so waits for this transaction. All
-- runs of a row may wait for a fifth of a second together.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_unaware (
    namespace_id text NOT NULL,
    id text NOT NULL,
    run_ids text[] NOT NULL,
    PRIMARY KEY (namespace_id, id)
);

CREATE OR REPLACE FUNCTION {schema}.owsuper_wake_unaware() RETURNS trigger
LANGUAGE plpgsql AS $function$
DECLARE
    previous text := pg_catalog.current_setting('lock_timeout');
    give_up_at timestamptz := pg_catalog.clock_timestamp() + '200 ms'::interval;
    left_ms integer;
    run text;
BEGIN
    DELETE FROM {schema}.owsuper_unaware
    WHERE namespace_id = NEW.namespace_id AND id = NEW.id;
    FOREACH run IN ARRAY NEW.run_ids LOOP
        left_ms := pg_catalog.date_part('epoch', give_up_at - pg_catalog.clock_timestamp()) * 1000;
        left_ms := CASE WHEN left_ms > 50 THEN 50 WHEN left_ms < 1 THEN 1 ELSE left_ms END;
        PERFORM pg_catalog.set_config('lock_timeout', left_ms::text, true);
        BEGIN
            PERFORM FROM {schema}.workflow_runs
            WHERE namespace_id = NEW.namespace_id AND id = run
            FOR NO KEY UPDATE;
            UPDATE {schema}.workflow_runs
            SET available_at = pg_catalog.now(), updated_at = pg_catalog.now()
            WHERE namespace_id = NEW.namespace_id AND id = run
                AND status IN ('pending', 'running', 'sleeping') AND worker_id IS NULL
                AND available_at > pg_catalog.now();
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            NULL;
        END;
    END LOOP;
    PERFORM pg_catalog.set_config('lock_timeout', previous, true);
    RETURN NULL;
END
$function$;

DROP TRIGGER IF EXISTS owsuper_unaware ON {schema}.owsuper_unaware;
CREATE CONSTRAINT TRIGGER owsuper_unaware
    AFTER INSERT ON {schema}.owsuper_unaware
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW
    EXECUTE FUNCTION {schema}.owsuper_wake_unaware();
