-- The keys that make the values of subjects readable, wrapped by keys that are not in the store. `subject` is a keyed hash
-- of the subject, `name` the subject sealed with its own key. A key that was destroyed leaves its row: who did it, when.
CREATE TABLE subjects (
    key_id TEXT PRIMARY KEY,
    subject TEXT,
    wrapped BLOB,
    name BLOB,
    created_at INTEGER NOT NULL,
    forgotten_at INTEGER,
    forgotten_by TEXT,
    reason TEXT
) WITHOUT ROWID;
CREATE UNIQUE INDEX subjects_in_use ON subjects (subject) WHERE forgotten_at IS NULL AND subject IS NOT NULL;
CREATE INDEX subjects_by_subject ON subjects (subject);

-- The executions whose values a key seals.
CREATE TABLE subject_executions (
    execution_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    PRIMARY KEY (execution_id, key_id)
) WITHOUT ROWID;
CREATE INDEX subject_executions_by_key ON subject_executions (key_id, execution_id);

-- Which keys have encrypted the whole store: their ids, which tell nothing of the keys.
CREATE TABLE at_rest_keys (key_id TEXT PRIMARY KEY, first_used_at INTEGER NOT NULL) WITHOUT ROWID;
