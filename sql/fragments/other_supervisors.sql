-- The other supervisors: which are missing, and which take turns.
--
-- Needs: $1 namespace, $2 id of the supervisor that asks. Gives: id, host, pid, missing, workflows,
-- on_call, free, slots of each. Missing are those whose lock nobody holds: they are dead, or have
-- lost their connection. The workflows (JSON array of [name, version]) are those of a supervisor
-- that answers notifications: it has lately said that it serves, listens and has a free slot. Else
-- NULL. The rest is what it has said: whether it is on call for new runs, and how many of its slots
-- are free.
-- Index: owsuper_supervisors_pkey; it reads one row for each supervisor.
-- Locks: the advisory locks of the missing supervisors, until the statement ends. A supervisor that
-- reconnects meanwhile waits for that.
SELECT
    o.id, o.host, o.pid::text,
    NOT o.pooled AND pg_try_advisory_xact_lock(
        hashtextextended('owsuper:supervisor:' || o.id, 0)
    ) AS missing,
    CASE
        WHEN o.announced_at >= now() - interval '45 seconds' AND s.state = 'serving'
            AND s.listening = 'true' AND s.free <> '0'
        THEN o.workflows::text
    END AS workflows,
    s.on_call, s.free, s.slots
FROM {schema}.owsuper_supervisors AS o
-- Each operator would decompress a long status again.
LEFT JOIN LATERAL jsonb_to_record(
    CASE WHEN jsonb_typeof(o.status) = 'object' THEN o.status END
) AS s (state text, listening text, on_call text, free text, slots text) ON true
WHERE o.namespace_id = $1 AND o.id <> $2
