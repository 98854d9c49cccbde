-- The workflows that a supervisor serves, as a JSON array of [name, version]. NULL until its
-- application is loaded.
ALTER TABLE {schema}.owsuper_supervisors ADD COLUMN IF NOT EXISTS workflows jsonb;
