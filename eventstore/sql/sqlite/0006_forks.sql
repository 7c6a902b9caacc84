-- Derived from the log: which executions go on from the past of another.
CREATE TABLE forks (
    execution_id TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    at_version INTEGER NOT NULL,
    forked_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX forks_by_source ON forks (source, forked_at, execution_id);
