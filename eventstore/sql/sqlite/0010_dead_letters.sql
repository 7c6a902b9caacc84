-- Messages that could not be processed. What they hold is sealed; reasons can be searched.
CREATE TABLE dead_letters (
    id TEXT PRIMARY KEY,
    trigger_name TEXT NOT NULL,
    source TEXT NOT NULL,
    place TEXT NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    times INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    settled_at INTEGER,
    settled_by TEXT,
    outcome TEXT,
    execution_id TEXT,
    content BLOB NOT NULL,
    edited BLOB
) WITHOUT ROWID;
CREATE INDEX dead_letters_by_time ON dead_letters (last_at, id);
CREATE INDEX dead_letters_by_trigger ON dead_letters (trigger_name, state, last_at, id);
