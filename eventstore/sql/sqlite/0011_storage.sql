-- Executions that stay, with their payloads, whatever the rules and the quotas say. No part of the log.
CREATE TABLE pins (
    execution_id TEXT PRIMARY KEY,
    pinned_at INTEGER NOT NULL,
    pinned_by TEXT NOT NULL,
    reason TEXT NOT NULL
) WITHOUT ROWID;

-- Whether a payload was packed after it was written, or is not made smaller by that. False for a tombstone.
ALTER TABLE payloads ADD COLUMN packed INTEGER NOT NULL DEFAULT 0;
