-- Whether a run matches the filters of the dashboard, apart from its time of creation.
--
-- Needs: $4 to $8 as in dashboard_count_runs; r, a row of workflow_runs.
-- Index: none; this reads no table.
($4::text IS NULL OR r.version = $4)
    AND ($5::timestamptz IS NULL OR r.finished_at >= $5)
    AND ($6::timestamptz IS NULL OR r.finished_at <= $6)
    AND r.status = ANY ($7::text[])
    AND ($8::text IS NULL OR r.workflow_name = $8 OR $8 = '' AND r.workflow_name NOT LIKE 'undo:%')
