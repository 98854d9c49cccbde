-- A page of the runs in CTE "few", which are all read.
--
-- Needs: few, rows of workflow_runs; $1 to $7 as in list_runs, $9 statuses (array).
-- Index: those of fragments/run_links.
SELECT
{fragments/run_columns}
FROM (
    SELECT
        few.*,
{fragments/page_number}
    FROM few
    WHERE status = ANY ($9::text[])
        AND created_at >= $6::timestamptz AND created_at <= $7::timestamptz
        AND {fragments/beyond}
) AS r
{fragments/run_links}
WHERE r.number <= $4::integer
ORDER BY r.number
