-- A row for each supervisor that has connected directly. A supervisor holds a session's advisory
-- lock on its id (see register_supervisor), so a row whose lock is free belongs to a supervisor that is
-- dead or cut off. The others release what it held, and delete the row. A supervisor that stops
-- leaves its row to them, too.
CREATE TABLE IF NOT EXISTS {schema}.owsuper_supervisors (
    namespace_id text NOT NULL,
    id text NOT NULL,
    lease_seconds double precision NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    connected_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace_id, id)
);
