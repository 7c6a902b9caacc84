-- Messages that could not be processed. What they hold is sealed; reasons can be searched.
CREATE TABLE dead_letters (
    id uuid PRIMARY KEY,
    trigger_name text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    place text COLLATE "C" NOT NULL,
    code text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    times bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    state text COLLATE "C" NOT NULL,
    settled_at timestamptz,
    settled_by text COLLATE "C",
    outcome text COLLATE "C",
    execution_id uuid,
    content bytea NOT NULL,
    edited bytea
);
CREATE INDEX dead_letters_by_time ON dead_letters (last_at, id);
CREATE INDEX dead_letters_by_trigger ON dead_letters (trigger_name, state, last_at, id);
