-- put_definition: store a definition unless it is there
INSERT INTO definitions (hash, workflow, document, first_seen_at)
VALUES (:hash, :workflow, :document, :first_seen_at)
ON CONFLICT (hash) DO NOTHING;

-- get_definition: one definition by hash
SELECT hash, workflow, document, first_seen_at FROM definitions WHERE hash = :hash;

-- first_seen: when the oldest definition of a workflow was stored
SELECT min(first_seen_at) FROM definitions WHERE workflow = :workflow;

-- load_cursor: how far a reader has come
SELECT position FROM cursors WHERE name = :name;

-- save_cursor: remember how far a reader has come, never going back
INSERT INTO cursors (name, position) VALUES (:name, :position)
ON CONFLICT (name) DO UPDATE SET position = excluded.position WHERE cursors.position < excluded.position;

-- save_snapshot: store a snapshot, replacing the one of its version
INSERT INTO snapshots (execution_id, version, format, state, taken_at, label)
VALUES (:execution_id, :version, :format, :state, :taken_at, :label)
ON CONFLICT (execution_id, version) DO UPDATE
SET format = excluded.format, state = excluded.state, taken_at = excluded.taken_at, label = excluded.label;

-- drop_old_snapshots: all unlabelled ones of an execution but the newest
DELETE FROM snapshots WHERE execution_id = :execution_id AND label IS NULL AND version NOT IN (
    SELECT version FROM snapshots WHERE execution_id = :execution_id AND label IS NULL
    ORDER BY version DESC LIMIT :keep_last
);

-- latest_snapshot: the newest one of an execution up to a version
SELECT execution_id, version, format, state, taken_at, label FROM snapshots
WHERE execution_id = :execution_id AND version <= :up_to_version ORDER BY version DESC LIMIT 1;

-- all_snapshots: all of an execution, oldest first
SELECT execution_id, version, format, state, taken_at, label FROM snapshots
WHERE execution_id = :execution_id ORDER BY version;

-- clear_snapshots: drop all of an execution
DELETE FROM snapshots WHERE execution_id = :execution_id;

-- delete_payload: leave a tombstone
UPDATE payloads SET data = NULL WHERE hash = :hash AND data IS NOT NULL;

-- execution: the row of one execution
SELECT execution_id, workflow, definition, status, cause, busy, trigger_name, dedupe_key, started_at, updated_at,
    finished_at, error
FROM executions WHERE execution_id = :execution_id;

-- executions: rows newest first; the caller puts its conditions in the place of {conditions}
SELECT execution_id, workflow, definition, status, cause, busy, trigger_name, dedupe_key, started_at, updated_at,
    finished_at, error
FROM executions WHERE {conditions} ORDER BY started_at DESC, execution_id DESC LIMIT :limit;

-- counts: executions by workflow and status
SELECT workflow, status, count(*) FROM executions GROUP BY workflow, status;

-- busy: executions with work in flight, from the first
SELECT execution_id FROM executions WHERE finished_at IS NULL AND busy ORDER BY execution_id LIMIT :limit;

-- busy_after: executions with work in flight, the next page
SELECT execution_id FROM executions
WHERE finished_at IS NULL AND busy AND execution_id > :after ORDER BY execution_id LIMIT :limit;

-- due_timers: timers that have come due, earliest first
SELECT execution_id, timer_id, due_at FROM timers
WHERE due_at <= :now ORDER BY due_at, execution_id, timer_id LIMIT :limit;

-- next_due: when the next timer comes due
SELECT min(due_at) FROM timers;

-- latest_dedupe_key: the greatest key of a trigger, by code point
SELECT max(dedupe_key) FROM executions WHERE trigger_name = :trigger;

-- without_cause: unfinished executions that wait for nothing recorded
SELECT execution_id FROM executions WHERE finished_at IS NULL AND cause = '' ORDER BY execution_id LIMIT :limit;
