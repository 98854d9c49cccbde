-- What a retry from a step sets aside: attempts that did not fail, too, and perhaps the result of a run
-- that had completed. The status is NULL where an earlier release has written the row: it is "failed".
ALTER TABLE {schema}.owsuper_retries ADD COLUMN IF NOT EXISTS status text;
ALTER TABLE {schema}.owsuper_retries ADD COLUMN IF NOT EXISTS from_step text;
ALTER TABLE {schema}.owsuper_retries ADD COLUMN IF NOT EXISTS output jsonb;
ALTER TABLE {schema}.owsuper_retried_attempts ADD COLUMN IF NOT EXISTS status text;
ALTER TABLE {schema}.owsuper_retried_attempts ADD COLUMN IF NOT EXISTS output jsonb;
