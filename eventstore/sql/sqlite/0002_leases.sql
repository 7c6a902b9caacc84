-- The daemon that works on this file, while it does.
CREATE TABLE daemons (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    joined_at INTEGER NOT NULL,
    beat_at INTEGER NOT NULL
) WITHOUT ROWID;

-- Derived from the log, but for who has it: a row for each execution with a handler owed.
CREATE TABLE leases (
    execution_id TEXT PRIMARY KEY,
    daemon TEXT,
    hinted INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX leases_hinted ON leases (daemon) WHERE hinted;
INSERT INTO leases (execution_id) SELECT execution_id FROM executions WHERE busy AND finished_at IS NULL;

-- Derived from the log: one row for each execution, as before but for `busy`: who is busy has a lease. No index has a
-- column that changes, so the one change that most rows see touches none.
ALTER TABLE executions RENAME TO executions_before;
CREATE TABLE executions (
    execution_id TEXT PRIMARY KEY,
    started_at INTEGER NOT NULL,
    workflow TEXT NOT NULL,
    definition TEXT NOT NULL,
    trigger_name TEXT,
    dedupe_key TEXT,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER,
    status TEXT NOT NULL,
    cause TEXT NOT NULL,
    error TEXT
);
INSERT INTO executions SELECT execution_id, started_at, workflow, definition, trigger_name, dedupe_key, updated_at,
    finished_at, status, cause, error
FROM executions_before;
DROP TABLE executions_before;
CREATE INDEX executions_by_start ON executions (started_at, execution_id);
CREATE INDEX executions_by_workflow ON executions (workflow, started_at, execution_id);

-- Derived from the log: the greatest dedupe key of each trigger.
CREATE TABLE latest_keys (trigger_name TEXT PRIMARY KEY, dedupe_key TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO latest_keys SELECT trigger_name, max(dedupe_key) FROM executions
WHERE trigger_name IS NOT NULL AND dedupe_key IS NOT NULL GROUP BY trigger_name;
