-- Executions that stay, with their payloads, whatever the rules and the quotas say. No part of the log.
CREATE TABLE pins (
    execution_id TEXT PRIMARY KEY,
    pinned_at INTEGER NOT NULL,
    pinned_by TEXT NOT NULL,
    reason TEXT NOT NULL
) WITHOUT ROWID;
