-- What people do to runs and workers through the dashboard: who, when, from where, and what came of
-- it. Entries are only added. The first row is written before the action, so that an action whose
-- process dies in the middle is known, too. Each answer is a row of its own; that of an action on
-- many runs comes in parts.
--
-- Entries are kept for 400 days: a new entry deletes old ones (audit_intend). "attempt" tells a
-- writer that repeats its statement after a lost answer from somebody who submits a form twice.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_audit (
    namespace_id text NOT NULL,
    id text NOT NULL,
    attempt text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now(),
    user_name text,
    address text,
    action text NOT NULL,
    target jsonb NOT NULL,
    arguments jsonb,
    PRIMARY KEY (namespace_id, id)
);

CREATE INDEX IF NOT EXISTS owsuper_audit_asked_at_idx
    ON {schema}.owsuper_audit (namespace_id, asked_at, id);

CREATE TABLE IF NOT EXISTS {schema}.owsuper_audit_outcomes (
    namespace_id text NOT NULL,
    audit_id text NOT NULL,
    number integer NOT NULL,
    answered_at timestamptz NOT NULL DEFAULT now(),
    is_last boolean NOT NULL,
    done integer NOT NULL,
    refused integer NOT NULL,
    details jsonb NOT NULL,
    PRIMARY KEY (namespace_id, audit_id, number),
    FOREIGN KEY (namespace_id, audit_id) REFERENCES {schema}.owsuper_audit ON DELETE CASCADE
);

CREATE OR REPLACE FUNCTION {schema}.owsuper_refuse_update() RETURNS trigger
LANGUAGE plpgsql AS $function$
BEGIN
    RAISE EXCEPTION 'entries of % are never changed', TG_TABLE_NAME;
END
$function$;

DROP TRIGGER IF EXISTS owsuper_unchanged ON {schema}.owsuper_audit;
CREATE TRIGGER owsuper_unchanged
    BEFORE UPDATE ON {schema}.owsuper_audit
    FOR EACH STATEMENT
    EXECUTE FUNCTION {schema}.owsuper_refuse_update();

DROP TRIGGER IF EXISTS owsuper_unchanged ON {schema}.owsuper_audit_outcomes;
CREATE TRIGGER owsuper_unchanged
    BEFORE UPDATE ON {schema}.owsuper_audit_outcomes
    FOR EACH STATEMENT
    EXECUTE FUNCTION {schema}.owsuper_refuse_update();
