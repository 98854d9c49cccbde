-- CTE "reach": the first and the last time of creation that a page reads.
--
-- Needs: edge (at); $2 and $5 to $7 as in dashboard_runs. Gives: reach (first, last).
-- Index: none; this reads no table.
reach AS MATERIALIZED (
    SELECT
        greatest($6::timestamptz, CASE WHEN $5::boolean THEN $2::timestamptz ELSE at END) AS first,
        least($7::timestamptz, CASE WHEN $5::boolean THEN at ELSE $2::timestamptz END) AS last
    FROM edge
)
