-- Results of steps for other steps: a row is a result, or the claim of whoever makes one. Losing it loses only time.
CREATE TABLE results (
    cache TEXT NOT NULL,
    key TEXT NOT NULL,
    workflow TEXT NOT NULL,
    claimed_by TEXT,
    value BLOB,
    execution_id TEXT,
    address TEXT,
    stored_at INTEGER,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (cache, key)
) WITHOUT ROWID;
CREATE INDEX results_by_end ON results (expires_at);

-- The newest run of each stream that a step has given.
CREATE TABLE streams (
    execution_id TEXT NOT NULL,
    address TEXT NOT NULL,
    run INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    chunks INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    began_at INTEGER NOT NULL,
    ended_at INTEGER,
    PRIMARY KEY (execution_id, address)
) WITHOUT ROWID;
CREATE INDEX streams_by_end ON streams (ended_at) WHERE ended_at IS NOT NULL;

-- Its chunks, many in a row: chunk `first` to chunk `last`.
CREATE TABLE chunks (
    execution_id TEXT NOT NULL,
    address TEXT NOT NULL,
    run INTEGER NOT NULL,
    last INTEGER NOT NULL,
    first INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (execution_id, address, run, last)
) WITHOUT ROWID;
