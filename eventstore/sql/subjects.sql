-- keys_in_use: those of a subject that were not destroyed, by any of its hashes; oldest first
SELECT key_id, subject, wrapped, name, created_at, forgotten_at, forgotten_by, reason FROM subjects
WHERE subject IN ({hashes}) AND forgotten_at IS NULL ORDER BY created_at, key_id;

-- keys_of: all of a subject, newest first
SELECT key_id, subject, wrapped, name, created_at, forgotten_at, forgotten_by, reason FROM subjects
WHERE subject IN ({hashes}) ORDER BY created_at DESC, key_id;

-- keys_of_execution: the one that seals its values first; one of its own before its subject's
SELECT s.key_id, subject, wrapped, name, created_at, forgotten_at, forgotten_by, reason
FROM subject_executions e JOIN subjects s ON s.key_id = e.key_id
WHERE e.execution_id = :execution_id ORDER BY subject IS NOT NULL, s.key_id;

-- add_key: unless one of that subject is in use
INSERT INTO subjects (key_id, subject, wrapped, name, created_at, forgotten_at, forgotten_by, reason)
VALUES (:key_id, :hash, :wrapped, :name, :created_at, :forgotten_at, :forgotten_by, :reason)
ON CONFLICT DO NOTHING;

-- wrapped_keys: keys as they are stored
SELECT key_id, wrapped FROM subjects WHERE key_id IN ({keys});

-- rewrap_key: the same key for another keyring
UPDATE subjects SET wrapped = :wrapped, subject = :hash WHERE key_id = :key_id AND wrapped IS NOT NULL;

-- all_keys: with how many executions there are of each, and how many of them have not ended
SELECT s.key_id, s.subject, s.wrapped, s.name, s.created_at, s.forgotten_at, s.forgotten_by, s.reason,
    count(u.execution_id), count(CASE WHEN e.execution_id IS NOT NULL AND e.finished_at IS NULL THEN 1 END)
FROM subjects s
LEFT JOIN subject_executions u ON u.key_id = s.key_id
LEFT JOIN executions e ON e.execution_id = u.execution_id
WHERE s.key_id > :after AND s.subject IS NOT NULL
GROUP BY s.key_id, s.subject, s.wrapped, s.name, s.created_at, s.forgotten_at, s.forgotten_by, s.reason
ORDER BY s.key_id LIMIT :limit;

-- own_keys: those that executions had of their own, before their subject was known
SELECT DISTINCT s.key_id FROM subject_executions a
JOIN subject_executions b ON b.execution_id = a.execution_id
JOIN subjects s ON s.key_id = b.key_id
WHERE a.key_id IN ({keys}) AND s.subject IS NULL AND s.forgotten_at IS NULL;

-- open_executions: of those that keys seal, some that have not ended
SELECT DISTINCT u.execution_id FROM subject_executions u JOIN executions e ON e.execution_id = u.execution_id
WHERE u.key_id IN ({keys}) AND e.finished_at IS NULL ORDER BY u.execution_id LIMIT :limit;

-- destroy_keys: unless an execution has not ended whose values they seal
UPDATE subjects SET wrapped = NULL, name = NULL, forgotten_at = :at, forgotten_by = :by, reason = :reason
WHERE key_id IN ({keys}) AND forgotten_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM subject_executions u JOIN executions e ON e.execution_id = u.execution_id
    WHERE u.key_id IN ({keys}) AND e.finished_at IS NULL
);

-- drop_snapshots: of the executions of keys
DELETE FROM snapshots WHERE execution_id IN (SELECT execution_id FROM subject_executions WHERE key_id IN ({keys}));

-- drop_chunks: of the executions of keys
DELETE FROM chunks WHERE execution_id IN (SELECT execution_id FROM subject_executions WHERE key_id IN ({keys}));

-- drop_results: cached ones, of the executions of keys
DELETE FROM results WHERE execution_id IN (SELECT execution_id FROM subject_executions WHERE key_id IN ({keys}));

-- count_executions: of keys
SELECT count(DISTINCT execution_id) FROM subject_executions WHERE key_id IN ({keys});

-- count_events: of the executions of keys
SELECT count(*) FROM stored_events
WHERE originator_id IN (SELECT execution_id FROM subject_executions WHERE key_id IN ({keys}));

-- count_snapshots: of the executions of keys
SELECT count(*) FROM snapshots
WHERE execution_id IN (SELECT execution_id FROM subject_executions WHERE key_id IN ({keys}));

-- count_results: of the executions of keys
SELECT count(*) FROM results
WHERE execution_id IN (SELECT execution_id FROM subject_executions WHERE key_id IN ({keys}));

-- at_rest_keys: those that have encrypted the store
SELECT key_id FROM at_rest_keys ORDER BY key_id;

-- add_at_rest_key: one more
INSERT INTO at_rest_keys (key_id, first_used_at) VALUES (:key_id, :at) ON CONFLICT DO NOTHING;
