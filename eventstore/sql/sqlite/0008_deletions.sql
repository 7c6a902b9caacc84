-- What remains of an execution that retention has deleted: that it was there, under which key, and where it is now. One that
-- was restored keeps its row: its age counts from then.
CREATE TABLE deleted_executions (
    execution_id TEXT PRIMARY KEY,
    workflow TEXT NOT NULL,
    definition TEXT NOT NULL,
    status TEXT NOT NULL,
    trigger_name TEXT,
    dedupe_key TEXT,
    started_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    events INTEGER NOT NULL,
    head TEXT NOT NULL,
    deleted_at INTEGER NOT NULL,
    archived_as TEXT,
    restored_at INTEGER
) WITHOUT ROWID;
CREATE INDEX deleted_executions_by_time ON deleted_executions (deleted_at, execution_id);

-- Which executions refer to which payload. Of payloads that were there before this table it is not known: they stay.
CREATE TABLE payload_uses (
    execution_id TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (execution_id, hash)
) WITHOUT ROWID;
CREATE INDEX payload_uses_by_hash ON payload_uses (hash);
ALTER TABLE payloads ADD COLUMN counted INTEGER NOT NULL DEFAULT 0;
