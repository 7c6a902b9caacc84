-- losers: those of the [id, version] pairs, given as a JSON array, that are not at their version; as places in the array
SELECT pair.key FROM json_each(?) AS pair WHERE pair.value ->> 1 <> coalesce((
    SELECT max(originator_version) FROM stored_events WHERE originator_id = pair.value ->> 0
), 0);

-- insert_event: one event; its position is the rowid it is given
INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES (?, ?, ?, ?);

-- put_payload: a payload once by hash; one that was deleted comes back
INSERT INTO payloads (hash, data) VALUES (?, ?)
ON CONFLICT (hash) DO UPDATE SET data = excluded.data WHERE payloads.data IS NULL;

-- touch_execution: what mostly changes in the row of an unfinished execution, if nothing else changes; no index has it
UPDATE executions SET status = ?, cause = ?, busy = ?, updated_at = ?, error = ?
WHERE execution_id = ? AND finished_at IS NULL AND workflow = ? AND definition = ? AND trigger_name IS ?
    AND dedupe_key IS ? AND started_at = ?;

-- put_execution: the row of an execution, unless touch_execution has done it
INSERT INTO executions (execution_id, workflow, definition, status, cause, busy, trigger_name, dedupe_key, started_at,
    updated_at, finished_at, error)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (execution_id) DO UPDATE SET workflow = excluded.workflow, definition = excluded.definition,
    status = excluded.status, cause = excluded.cause, busy = excluded.busy, trigger_name = excluded.trigger_name,
    dedupe_key = excluded.dedupe_key, started_at = excluded.started_at, updated_at = excluded.updated_at,
    finished_at = excluded.finished_at, error = excluded.error
WHERE excluded.finished_at IS NOT NULL
    OR (executions.finished_at, executions.workflow, executions.definition, executions.trigger_name,
        executions.dedupe_key, executions.started_at)
    IS NOT (NULL, excluded.workflow, excluded.definition, excluded.trigger_name, excluded.dedupe_key,
        excluded.started_at);

-- clear_timer: one timer
DELETE FROM timers WHERE execution_id = ? AND timer_id = ?;

-- set_timer: one timer
INSERT INTO timers (execution_id, timer_id, due_at) VALUES (?, ?, ?)
ON CONFLICT (execution_id, timer_id) DO UPDATE SET due_at = excluded.due_at;

-- drop_timers: all of an execution
DELETE FROM timers WHERE execution_id = ?;

-- get_payloads: many by hash, given as a JSON array
SELECT hash, data FROM payloads WHERE hash IN (SELECT value FROM json_each(?));

-- clear_executions: all of them, before a rebuild
DELETE FROM executions;

-- clear_timers: all of them, before a rebuild
DELETE FROM timers;

-- read: the events of one execution in order of version
SELECT originator_version, rowid, topic, state FROM stored_events
WHERE originator_id = ? AND originator_version > ? AND originator_version <= ? ORDER BY originator_version;
