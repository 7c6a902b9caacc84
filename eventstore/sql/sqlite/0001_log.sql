-- The log. The eventsourcing library's own table, so that its tools can read it; the position is the rowid.
CREATE TABLE IF NOT EXISTS stored_events (
    originator_id TEXT,
    originator_version INTEGER,
    topic TEXT,
    state BLOB,
    PRIMARY KEY (originator_id, originator_version)
);

-- Values too large for the log, by the SHA-256 of their JSON text; NULL bytes are a tombstone.
CREATE TABLE payloads (hash TEXT PRIMARY KEY, data BLOB);

-- Definitions that executions are pinned to. Times here and below are microseconds since 1970, UTC.
CREATE TABLE definitions (
    hash TEXT PRIMARY KEY,
    workflow TEXT NOT NULL,
    document BLOB NOT NULL,
    first_seen_at INTEGER NOT NULL
);
CREATE INDEX definitions_by_workflow ON definitions (workflow, first_seen_at);

-- How far each reader of the whole log has come.
CREATE TABLE cursors (name TEXT PRIMARY KEY, position INTEGER NOT NULL);

-- Cached folds.
CREATE TABLE snapshots (
    execution_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    format TEXT NOT NULL,
    state BLOB NOT NULL,
    taken_at INTEGER NOT NULL,
    label TEXT,
    PRIMARY KEY (execution_id, version)
);

-- Derived from the log: one row for each execution. No index has a column that changes before the end.
CREATE TABLE executions (
    execution_id TEXT PRIMARY KEY,
    workflow TEXT NOT NULL,
    definition TEXT NOT NULL,
    status TEXT NOT NULL,
    cause TEXT NOT NULL,
    busy INTEGER NOT NULL,
    trigger_name TEXT,
    dedupe_key TEXT,
    started_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER,
    error TEXT
);
CREATE INDEX executions_by_start ON executions (started_at, execution_id);
CREATE INDEX executions_by_workflow ON executions (workflow, started_at, execution_id);
CREATE INDEX executions_by_trigger ON executions (trigger_name, dedupe_key) WHERE trigger_name IS NOT NULL;
CREATE INDEX executions_unfinished ON executions (execution_id) WHERE finished_at IS NULL;

-- Derived from the log: durable due times.
CREATE TABLE timers (
    execution_id TEXT NOT NULL,
    timer_id TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    PRIMARY KEY (execution_id, timer_id)
) WITHOUT ROWID;
CREATE INDEX timers_by_due ON timers (due_at, execution_id, timer_id);
