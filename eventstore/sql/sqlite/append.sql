-- losers: those of the [id, version] pairs, given as a JSON array, that are not at their version, or were deleted; as places
-- in the array
SELECT pair.key FROM json_each(?) AS pair WHERE pair.value ->> 1 <> coalesce((
    SELECT max(originator_version) FROM stored_events WHERE originator_id = pair.value ->> 0
), (SELECT -1 FROM deleted_executions WHERE execution_id = pair.value ->> 0 AND restored_at IS NULL), 0);

-- insert_event: one event; its position is the rowid it is given
INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES (?, ?, ?, ?);

-- put_payload: a payload once by hash; one that was deleted comes back
INSERT INTO payloads (hash, data, counted) VALUES (?, ?, 1)
ON CONFLICT (hash) DO UPDATE SET data = excluded.data WHERE payloads.data IS NULL;

-- put_use: an execution refers to a payload
INSERT INTO payload_uses (execution_id, hash) VALUES (?, ?) ON CONFLICT (execution_id, hash) DO NOTHING;

-- restore: what was deleted comes back
UPDATE deleted_executions SET restored_at = ? WHERE execution_id = ? AND restored_at IS NULL;

-- orphans: those of the executions, given as a JSON array, that were deleted
SELECT execution_id FROM deleted_executions
WHERE execution_id IN (SELECT value FROM json_each(?)) AND restored_at IS NULL;

-- put_execution: the row of an execution
INSERT INTO executions (execution_id, started_at, workflow, definition, trigger_name, dedupe_key, updated_at,
    finished_at, status, cause, error)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (execution_id) DO UPDATE SET started_at = excluded.started_at, workflow = excluded.workflow,
    definition = excluded.definition, trigger_name = excluded.trigger_name, dedupe_key = excluded.dedupe_key,
    updated_at = excluded.updated_at, finished_at = excluded.finished_at, status = excluded.status,
    cause = excluded.cause, error = excluded.error;

-- put_latest_key: the greatest key of a trigger
INSERT INTO latest_keys (trigger_name, dedupe_key) VALUES (?, ?)
ON CONFLICT (trigger_name) DO UPDATE SET dedupe_key = excluded.dedupe_key WHERE dedupe_key < excluded.dedupe_key;

-- change_execution: what changes after the start; no index has it
UPDATE executions SET status = ?, cause = ?, updated_at = ?, finished_at = ?, error = ? WHERE execution_id = ?;

-- clear_timer: one timer
DELETE FROM timers WHERE execution_id = ? AND timer_id = ?;

-- set_timer: one timer
INSERT INTO timers (execution_id, timer_id, due_at) VALUES (?, ?, ?)
ON CONFLICT (execution_id, timer_id) DO UPDATE SET due_at = excluded.due_at;

-- drop_approval: all rows of one approval
DELETE FROM approvals WHERE execution_id = ? AND address = ?;

-- put_approval: one row of an approval
INSERT INTO approvals (execution_id, address, approver, question, status, workflow, prompt, requested_at, due_at,
    decided_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- put_fork: an execution that goes on from another
INSERT INTO forks (execution_id, source, at_version, forked_at) VALUES (?, ?, ?, ?)
ON CONFLICT (execution_id) DO NOTHING;

-- clear_forks: all of them, before a rebuild
DELETE FROM forks;

-- drop_timers: all of an execution
DELETE FROM timers WHERE execution_id = ?;

-- fenced: those of the ids, given as a JSON array, that are no members
SELECT value FROM json_each(?) WHERE value NOT IN (SELECT id FROM daemons);

-- free_lease: no handler is owed any more
DELETE FROM leases WHERE execution_id = ?;

-- put_lease: a handler is owed, by this daemon unless another has the lease
INSERT INTO leases (execution_id, daemon) VALUES (?, ?) ON CONFLICT (execution_id) DO NOTHING;

-- hint: the holder must look at it
UPDATE leases SET hinted = true WHERE execution_id = ?;

-- hint_holder: the same, where there is one
UPDATE leases SET hinted = true WHERE execution_id = ? AND daemon IN (SELECT id FROM daemons);

-- hinted: the executions that a daemon was asked to look at; from now on it was not
UPDATE leases SET hinted = false WHERE daemon = :daemon AND hinted RETURNING execution_id;

-- any_hint: whether a daemon was asked to look at anything
SELECT 1 FROM leases WHERE daemon = :daemon AND hinted LIMIT 1;

-- join: become the one member
INSERT INTO daemons (id, name, joined_at, beat_at) VALUES (?, ?, ?, ?);

-- clear_daemons: fence all
DELETE FROM daemons;

-- is_member: whether this daemon is one
SELECT 1 FROM daemons WHERE id = ?;

-- claim: take orphans
UPDATE leases SET daemon = ?, hinted = false WHERE execution_id IN (
    SELECT execution_id FROM leases WHERE daemon IS NULL OR daemon NOT IN (SELECT id FROM daemons) LIMIT ?
) RETURNING execution_id;

-- take: take one lease, an orphan or its own
UPDATE leases SET daemon = ?1 WHERE execution_id = ?2
    AND (daemon IS NULL OR daemon = ?1 OR daemon NOT IN (SELECT id FROM daemons));

-- leave: cease to be a member
DELETE FROM daemons WHERE id = :daemon;

-- keep_leases: who has them, before a rebuild
CREATE TEMPORARY TABLE kept_leases (execution_id TEXT PRIMARY KEY, daemon TEXT, hinted INTEGER) WITHOUT ROWID;

-- fill_kept_leases: see there
INSERT INTO kept_leases SELECT execution_id, daemon, hinted FROM leases;

-- clear_leases: all of them
DELETE FROM leases;

-- restore_leases: to whom had them, after a rebuild
UPDATE leases SET (daemon, hinted) = (
    SELECT k.daemon, k.hinted FROM kept_leases k WHERE k.execution_id = leases.execution_id
) WHERE execution_id IN (SELECT execution_id FROM kept_leases);

-- drop_kept_leases: that is done
DROP TABLE kept_leases;

-- versions: the last version of each of these executions, given as a JSON array
SELECT originator_id, max(originator_version) FROM stored_events
WHERE originator_id IN (SELECT value FROM json_each(:ids)) GROUP BY originator_id;

-- get_payloads: many by hash, given as a JSON array
SELECT hash, data, object FROM payloads WHERE hash IN (SELECT value FROM json_each(?));

-- get_keys: many by id, given as a JSON array
SELECT key_id, wrapped FROM subjects WHERE key_id IN (SELECT value FROM json_each(?));

-- keys_there: those that were not destroyed, of many given as a JSON array
SELECT key_id FROM subjects WHERE key_id IN (SELECT value FROM json_each(?)) AND wrapped IS NOT NULL;

-- use_key: note whose values a key seals
INSERT INTO subject_executions (execution_id, key_id) VALUES (?, ?) ON CONFLICT (execution_id, key_id) DO NOTHING;

-- clear_executions: all of them, before a rebuild
DELETE FROM executions;

-- clear_timers: all of them, before a rebuild
DELETE FROM timers;

-- clear_approvals: all of them, before a rebuild
DELETE FROM approvals;

-- clear_latest_keys: all of them, before a rebuild
DELETE FROM latest_keys;

-- read: the events of one execution in order of version
SELECT originator_version, rowid, topic, state FROM stored_events
WHERE originator_id = ? AND originator_version > ? AND originator_version <= ? ORDER BY originator_version;

-- read_all: the events after a position, in the order of the log
SELECT originator_id, originator_version, rowid, topic, state FROM stored_events WHERE rowid > ? ORDER BY rowid LIMIT ?;

-- read_many: the first events of each of these executions, given as a JSON array
SELECT e.originator_id, e.originator_version, e.rowid, e.topic, e.state
FROM json_each(?) AS ids CROSS JOIN stored_events AS e
ON e.originator_id = ids.value AND e.originator_version <= ?
ORDER BY e.originator_id, e.originator_version;

-- free_slots: all that an address has or waits for
DELETE FROM slots WHERE execution_id = :x AND address = :a;

-- slot_free: whether a take may be made; NULLs restrict nothing
SELECT (:m IS NULL OR :m > (
    SELECT count(*) FROM slots WHERE limit_name = :l AND key = :k AND held AND NOT (execution_id = :x AND address = :a)
)) AND (:i IS NULL OR :t >= coalesce((
    SELECT next_us FROM rates WHERE limit_name = :l AND key = :k
), :t) - (:b - 1) * :i) AND NOT (:f AND EXISTS (
    SELECT 1 FROM slots WHERE limit_name = :l AND key = :k AND NOT held AND rank <= :p
));

-- put_slot: what is asked for, or held
INSERT INTO slots (execution_id, address, limit_name, key, rank, fair, round, most, interval_us, burst, held, since)
VALUES (:x, :a, :l, :k, :p, :r, max(
    coalesce(
        (SELECT max(round) FROM slots WHERE limit_name = :l AND key = :k AND rank = :p AND held),
        (SELECT min(round) FROM slots WHERE limit_name = :l AND key = :k AND rank = :p AND NOT held),
        0
    ),
    1 + coalesce((SELECT max(round) FROM slots WHERE limit_name = :l AND key = :k AND rank = :p AND fair = :r), -1)
), :m, :i, :b, :held, :t)
ON CONFLICT (execution_id, address, limit_name, key) DO UPDATE SET held = excluded.held, since = excluded.since;

-- drop_asked: what an address waited for and has now, as far as there is nothing to hold
DELETE FROM slots WHERE execution_id = :x AND address = :a AND NOT held;

-- advance_rate: one more was let through
INSERT INTO rates (limit_name, key, next_us) VALUES (:l, :k, :t + :i)
ON CONFLICT (limit_name, key) DO UPDATE SET next_us = max(next_us, :t) + :i;

-- clear_slots: all of them, before a rebuild, but for messages that deleted executions have collected
DELETE FROM slots WHERE substr(address, 1, 9) <> '#message:' OR execution_id NOT IN (
    SELECT execution_id FROM deleted_executions WHERE restored_at IS NULL
);

-- keep_keys: the greatest keys of executions that were deleted, after a rebuild
INSERT INTO latest_keys (trigger_name, dedupe_key)
SELECT trigger_name, max(dedupe_key) FROM deleted_executions
WHERE trigger_name IS NOT NULL AND dedupe_key IS NOT NULL GROUP BY trigger_name
ON CONFLICT (trigger_name) DO UPDATE SET dedupe_key = excluded.dedupe_key WHERE dedupe_key < excluded.dedupe_key;

-- clear_rates: all of them, before a rebuild
DELETE FROM rates;
