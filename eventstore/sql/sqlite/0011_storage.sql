-- Executions that stay, with their payloads, whatever the rules and the quotas say. No part of the log.
CREATE TABLE pins (
    execution_id TEXT PRIMARY KEY,
    pinned_at INTEGER NOT NULL,
    pinned_by TEXT NOT NULL,
    reason TEXT NOT NULL
) WITHOUT ROWID;

-- Whether a payload was packed after it was written, or is not made smaller by that. False for a tombstone.
ALTER TABLE payloads ADD COLUMN packed INTEGER NOT NULL DEFAULT 0;

-- The name of the object outside of the database that holds a payload's bytes, when they are not here.
ALTER TABLE payloads ADD COLUMN object TEXT;

-- Objects that no payload has: one is about to be written since a time, or, without a time, to be removed.
CREATE TABLE loose_objects (
    name TEXT PRIMARY KEY,
    hash TEXT NOT NULL,
    noted_at INTEGER
) WITHOUT ROWID;
CREATE INDEX loose_objects_by_hash ON loose_objects (hash);

-- When payloads were read last, to the minute or so, where that is noted. A table of its own: payloads are large rows.
CREATE TABLE payload_reads (hash TEXT PRIMARY KEY, read_at INTEGER NOT NULL) WITHOUT ROWID;
