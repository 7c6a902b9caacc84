-- is_gone: whether there is no such execution
SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM executions WHERE execution_id = :id);

-- is_changed: whether it has not ended, or is not at the version
SELECT 1 FROM executions WHERE execution_id = :id AND (finished_at IS NULL OR :version <> (
    SELECT max(originator_version) FROM stored_events WHERE originator_id = :id
));

-- is_owed: whether it has a lease
SELECT 1 FROM leases WHERE execution_id = :id;

-- is_forked: whether another goes on from its past
SELECT 1 FROM forks WHERE source = :id LIMIT 1;

-- is_pinned: whether somebody wants it to stay
SELECT 1 FROM pins WHERE execution_id = :id;

-- is_newest: whether it holds the greatest position
SELECT 1 FROM stored_events WHERE rowid = (SELECT max(rowid) FROM stored_events) AND originator_id = :id;

-- remember: what remains
INSERT INTO deleted_executions (execution_id, workflow, definition, status, trigger_name, dedupe_key, started_at,
    finished_at, events, head, deleted_at, archived_as)
SELECT execution_id, workflow, definition, status, trigger_name, dedupe_key, started_at, finished_at, :version, :head, :at,
    :archived_as
FROM executions WHERE execution_id = :id
ON CONFLICT (execution_id) DO UPDATE SET workflow = excluded.workflow, definition = excluded.definition,
    status = excluded.status, finished_at = excluded.finished_at, events = excluded.events, head = excluded.head,
    deleted_at = excluded.deleted_at, archived_as = excluded.archived_as, restored_at = NULL;

-- drop_events: all of it
DELETE FROM stored_events WHERE originator_id = :id;

-- drop_execution: its row
DELETE FROM executions WHERE execution_id = :id;

-- drop_snapshots: all of it
DELETE FROM snapshots WHERE execution_id = :id;

-- drop_timers: all of it
DELETE FROM timers WHERE execution_id = :id;

-- drop_approvals: all of it
DELETE FROM approvals WHERE execution_id = :id;

-- drop_fork: what it was forked from
DELETE FROM forks WHERE execution_id = :id;

-- drop_chunks: of all its streams
DELETE FROM chunks WHERE execution_id = :id;

-- drop_streams: the streams themselves
DELETE FROM streams WHERE execution_id = :id;

-- loosen_objects: those of payloads that only it refers to
INSERT INTO loose_objects (name, hash) SELECT object, hash FROM payloads
WHERE counted AND object IS NOT NULL AND hash IN (SELECT hash FROM payload_uses WHERE execution_id = :id)
AND NOT EXISTS (SELECT 1 FROM payload_uses o WHERE o.hash = payloads.hash AND o.execution_id <> :id)
ON CONFLICT (name) DO UPDATE SET noted_at = NULL;

-- drop_payloads: those that only it refers to
DELETE FROM payloads WHERE counted AND hash IN (SELECT hash FROM payload_uses WHERE execution_id = :id)
AND NOT EXISTS (SELECT 1 FROM payload_uses o WHERE o.hash = payloads.hash AND o.execution_id <> :id);

-- drop_uses: what it refers to
DELETE FROM payload_uses WHERE execution_id = :id;
