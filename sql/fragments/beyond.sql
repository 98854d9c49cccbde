-- Whether a run lies on the page's side of the run next to the page.
--
-- Needs: $2, $3 and $5 as in list_runs; rows of workflow_runs.
-- Index: none; this reads no table.
CASE
    WHEN $5::boolean THEN (created_at, id) > ($2::timestamptz, $3::text)
    ELSE (created_at, id) < ($2::timestamptz, $3::text)
END
