-- The schema, and the table that remembers which versions were applied.
--
-- A role that may not create schemas can use one that was made for it, so ask before trying:
-- CREATE SCHEMA IF NOT EXISTS wants the privilege even where there is nothing to do.
DO $migration$
BEGIN
    IF pg_catalog.to_regnamespace('{schema}') IS NULL THEN
        CREATE SCHEMA IF NOT EXISTS {schema};
    END IF;
END
$migration$;

CREATE TABLE IF NOT EXISTS {schema}.openworkflow_migrations (
    version bigint NOT NULL PRIMARY KEY
);
