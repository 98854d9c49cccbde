-- The other supervisors: which are missing, and which take turns.
--
-- Needs: $1 namespace, $2 id of the supervisor that asks. Gives: id, host, pid, missing, workflows of
-- each. Missing are those whose lock nobody holds: they are dead, or have lost their connection. The
-- workflows (JSON array of [name, version]) are those of a supervisor that answers notifications: it
-- has lately said that it serves, listens and has a free slot. Else NULL.
-- Index: owsuper_supervisors_pkey; it reads one row for each supervisor.
-- Locks: the advisory locks of the missing supervisors, until the statement ends. A supervisor that
-- reconnects meanwhile waits for that.
SELECT
    id, host, pid::text,
    NOT pooled AND pg_try_advisory_xact_lock(
        hashtextextended('owsuper:supervisor:' || id, 0)
    ) AS missing,
    CASE
        WHEN announced_at >= now() - interval '45 seconds' AND status ->> 'state' = 'serving'
            AND status ->> 'listening' = 'true' AND status ->> 'free' <> '0'
        THEN workflows::text
    END AS workflows
FROM {schema}.owsuper_supervisors
WHERE namespace_id = $1 AND id <> $2
