-- The place of a run in a page, counted from the run next to it.
--
-- Needs: $5 whether the page comes before that run, as in list_runs; rows of workflow_runs.
-- Index: none; this reads no table.
row_number() OVER (
    ORDER BY
        CASE WHEN $5::boolean THEN created_at END, CASE WHEN $5::boolean THEN id END,
        created_at DESC, id DESC
) AS number
