-- ended: executions that ended before a time, oldest start first; a restored one ended when it was restored
SELECT e.execution_id, e.workflow, e.definition, e.status, e.cause, e.trigger_name, e.dedupe_key, e.started_at,
    e.updated_at, e.finished_at, e.error, coalesce(d.restored_at, e.finished_at)
FROM executions e LEFT JOIN deleted_executions d ON d.execution_id = e.execution_id
WHERE e.started_at < :before AND e.finished_at < :before AND coalesce(d.restored_at, e.finished_at) < :before
ORDER BY e.started_at, e.execution_id LIMIT :limit;

-- ended_after: the page after a row
SELECT e.execution_id, e.workflow, e.definition, e.status, e.cause, e.trigger_name, e.dedupe_key, e.started_at,
    e.updated_at, e.finished_at, e.error, coalesce(d.restored_at, e.finished_at)
FROM executions e LEFT JOIN deleted_executions d ON d.execution_id = e.execution_id
WHERE e.started_at < :before AND e.finished_at < :before AND coalesce(d.restored_at, e.finished_at) < :before
    AND (e.started_at, e.execution_id) > (:after_time, :after_id)
ORDER BY e.started_at, e.execution_id LIMIT :limit;

-- deleted: what remains of one
SELECT execution_id, workflow, definition, status, trigger_name, dedupe_key, started_at, finished_at, events, head,
    deleted_at, archived_as, restored_at
FROM deleted_executions WHERE execution_id = :execution_id AND restored_at IS NULL;

-- all_deleted: latest first
SELECT execution_id, workflow, definition, status, trigger_name, dedupe_key, started_at, finished_at, events, head,
    deleted_at, archived_as, restored_at
FROM deleted_executions WHERE restored_at IS NULL ORDER BY deleted_at DESC, execution_id DESC LIMIT :limit;

-- all_deleted_after: the page after a row
SELECT execution_id, workflow, definition, status, trigger_name, dedupe_key, started_at, finished_at, events, head,
    deleted_at, archived_as, restored_at
FROM deleted_executions WHERE restored_at IS NULL AND (deleted_at, execution_id) < (:after_time, :after_id)
ORDER BY deleted_at DESC, execution_id DESC LIMIT :limit;

