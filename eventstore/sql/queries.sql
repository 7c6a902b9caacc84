-- put_definition: store a definition unless it is there
INSERT INTO definitions (hash, workflow, document, first_seen_at)
VALUES (:hash, :workflow, :document, :first_seen_at)
ON CONFLICT (hash) DO NOTHING;

-- get_definition: one definition by hash
SELECT hash, workflow, document, first_seen_at FROM definitions WHERE hash = :hash;

-- find_definitions: the first hashes of a workflow between two texts
SELECT hash FROM definitions WHERE workflow = :workflow AND hash >= :first AND hash < :last ORDER BY hash LIMIT 2;

-- hashes: of all definitions, in order
SELECT hash FROM definitions WHERE hash > :after ORDER BY hash LIMIT :limit;

-- first_seen: when the oldest definition of a workflow was stored
SELECT min(first_seen_at) FROM definitions WHERE workflow = :workflow;

-- load_cursor: how far a reader has come
SELECT position FROM cursors WHERE name = :name;

-- save_cursor: remember how far a reader has come, never going back
INSERT INTO cursors (name, position) VALUES (:name, :position)
ON CONFLICT (name) DO UPDATE SET position = excluded.position WHERE cursors.position < excluded.position;

-- save_snapshot: store a snapshot, replacing the one of its version, whose label stays unless there is a new one
INSERT INTO snapshots (execution_id, version, format, state, taken_at, label, covers_to)
VALUES (:execution_id, :version, :format, :state, :taken_at, :label, :covers_to)
ON CONFLICT (execution_id, version) DO UPDATE
SET format = excluded.format, state = excluded.state, taken_at = excluded.taken_at,
    label = coalesce(excluded.label, snapshots.label), covers_to = excluded.covers_to;

-- drop_old_snapshots: all unlabelled ones of an execution but the newest
DELETE FROM snapshots WHERE execution_id = :execution_id AND label IS NULL AND version NOT IN (
    SELECT version FROM snapshots WHERE execution_id = :execution_id AND label IS NULL
    ORDER BY version DESC LIMIT :keep_last
);

-- latest_snapshot: the newest one of an execution up to a version
SELECT execution_id, version, format, state, taken_at, label, covers_to FROM snapshots
WHERE execution_id = :execution_id AND version <= :up_to_version ORDER BY version DESC LIMIT 1;

-- latest_snapshot_at: the newest one of an execution up to a version, none of whose events is later than a time
SELECT execution_id, version, format, state, taken_at, label, covers_to FROM snapshots
WHERE execution_id = :execution_id AND version <= :up_to_version AND covers_to <= :covers_to
ORDER BY version DESC LIMIT 1;

-- get_snapshot: the one of a version
SELECT execution_id, version, format, state, taken_at, label, covers_to FROM snapshots
WHERE execution_id = :execution_id AND version = :version;

-- all_snapshots: all of an execution, oldest first
SELECT execution_id, version, format, state, taken_at, label, covers_to FROM snapshots
WHERE execution_id = :execution_id ORDER BY version;

-- stored_snapshots: all of an execution, oldest first, without their states
SELECT version, format, length(state), taken_at, label, covers_to FROM snapshots
WHERE execution_id = :execution_id ORDER BY version;

-- clear_snapshots: drop all of an execution
DELETE FROM snapshots WHERE execution_id = :execution_id;

-- clear_snapshot: drop one
DELETE FROM snapshots WHERE execution_id = :execution_id AND version = :version;

-- loosen_object: the one that a payload has
INSERT INTO loose_objects (name, hash) SELECT object, hash FROM payloads WHERE hash = :hash AND object IS NOT NULL
ON CONFLICT (name) DO UPDATE SET noted_at = NULL;

-- delete_payload: leave a tombstone
UPDATE payloads SET data = NULL, packed = false, object = NULL
WHERE hash = :hash AND (data IS NOT NULL OR object IS NOT NULL);

-- bury_payload: leave a tombstone where there is nothing
INSERT INTO payloads (hash, data, counted) VALUES (:hash, NULL, true) ON CONFLICT (hash) DO NOTHING;

-- logged: executions that have events, in order of their ids, with their last versions
SELECT originator_id, max(originator_version) FROM stored_events
GROUP BY originator_id ORDER BY originator_id LIMIT :limit;

-- logged_after: the same, those that come after one
SELECT originator_id, max(originator_version) FROM stored_events WHERE originator_id > :after
GROUP BY originator_id ORDER BY originator_id LIMIT :limit;

-- execution: the row of one execution
SELECT execution_id, workflow, definition, status, cause, trigger_name, dedupe_key, started_at, updated_at,
    finished_at, error
FROM executions WHERE execution_id = :execution_id;

-- executions: rows newest first; the caller puts its conditions in the place of {conditions}
SELECT execution_id, workflow, definition, status, cause, trigger_name, dedupe_key, started_at, updated_at,
    finished_at, error
FROM executions WHERE {conditions} ORDER BY started_at DESC, execution_id DESC LIMIT :limit;

-- counts: executions by workflow and status
SELECT workflow, status, count(*) FROM executions GROUP BY workflow, status;

-- uses: the executions of a workflow by the definition that they are pinned to
SELECT definition, count(*) FILTER (WHERE finished_at IS NULL), count(*),
    min(started_at) FILTER (WHERE finished_at IS NULL), max(started_at)
FROM executions WHERE workflow = :workflow GROUP BY definition ORDER BY max(started_at) DESC, definition;

-- busy: executions that have a lease, from the first
SELECT execution_id FROM leases ORDER BY execution_id LIMIT :limit;

-- busy_after: executions that have a lease, the next page
SELECT execution_id FROM leases WHERE execution_id > :after ORDER BY execution_id LIMIT :limit;

-- due_timers: timers that have come due, earliest first
SELECT execution_id, timer_id, due_at FROM timers
WHERE due_at <= :now ORDER BY due_at, execution_id, timer_id LIMIT :limit;

-- due_timers_after: the page after a row
SELECT execution_id, timer_id, due_at FROM timers
WHERE due_at <= :now AND (due_at, execution_id, timer_id) > (:due_at, :execution_id, :timer_id)
ORDER BY due_at, execution_id, timer_id LIMIT :limit;

-- next_due: when the next timer comes due
SELECT min(due_at) FROM timers;

-- next_due_after: when the next timer comes due after a time
SELECT min(due_at) FROM timers WHERE due_at > :after;

-- latest_dedupe_key: the greatest key of a trigger, by code point
SELECT max(dedupe_key) FROM latest_keys WHERE trigger_name = :trigger;

-- approvals: oldest first, each once; the caller puts its conditions in the place of {conditions}
SELECT DISTINCT requested_at, execution_id, address, question, workflow, status, prompt, due_at, decided_at
FROM approvals WHERE {conditions} ORDER BY requested_at, execution_id, address LIMIT :limit;

-- without_cause: unfinished executions that wait for nothing recorded; no index helps, it would cost every update
SELECT execution_id FROM executions WHERE finished_at IS NULL AND cause = '' ORDER BY execution_id LIMIT :limit;

-- members: all daemons in the order in which they joined
SELECT id, name, joined_at, beat_at FROM daemons ORDER BY joined_at, id;

-- lease_counts: how many leases each daemon was given
SELECT daemon, count(*) FROM leases GROUP BY daemon;

-- held: the executions that a daemon has
SELECT execution_id FROM leases WHERE daemon = :daemon;

-- drop_lease: one that a daemon has, of an execution that is as it was when it had ended
DELETE FROM leases WHERE execution_id = :execution_id AND daemon = :daemon AND EXISTS (
    SELECT 1 FROM executions e WHERE e.execution_id = :execution_id AND e.finished_at = :ended_at
);

-- holder: which daemon has the lease of an execution
SELECT d.id, d.name, d.joined_at, d.beat_at FROM leases l JOIN daemons d ON d.id = l.daemon
WHERE l.execution_id = :execution_id;

-- slot_queues: limits and keys that somebody waits for
SELECT DISTINCT limit_name, key FROM slots WHERE NOT held ORDER BY limit_name, key LIMIT :most;

-- slot_heads: the first ones of a queue
SELECT execution_id, address, rank, fair, since, most, interval_us, burst FROM slots
WHERE limit_name = :limit AND key = :key AND NOT held
ORDER BY rank, round, since, execution_id, address LIMIT :most;

-- slot_use: how one limit is used for one key
SELECT count(CASE WHEN held THEN 1 END), count(CASE WHEN NOT held THEN 1 END), min(CASE WHEN NOT held THEN since END),
    (SELECT next_us FROM rates WHERE limit_name = :limit AND key = :key), max(most)
FROM slots WHERE limit_name = :limit AND key = :key;

-- slot_uses: the same of all that is used
SELECT s.limit_name, s.key, count(CASE WHEN s.held THEN 1 END), count(CASE WHEN NOT s.held THEN 1 END),
    min(CASE WHEN NOT s.held THEN s.since END),
    (SELECT r.next_us FROM rates r WHERE r.limit_name = s.limit_name AND r.key = s.key), max(s.most)
FROM slots s WHERE {conditions} AND substr(s.address, 1, 9) <> '#message:' GROUP BY s.limit_name, s.key ORDER BY s.limit_name, s.key LIMIT :most;

-- slot_waiting: how many wait for each limit
SELECT limit_name, count(*) FROM slots WHERE NOT held GROUP BY limit_name;

-- slot_holders: who holds a slot, oldest first
SELECT execution_id, address, since FROM slots
WHERE limit_name = :limit AND key = :key AND held ORDER BY since, execution_id, address LIMIT :most;

-- slots_of: what an execution has or waits for
SELECT address, limit_name, key, held FROM slots WHERE execution_id = :execution_id ORDER BY address, limit_name, key;

-- fork: where an execution goes on from
SELECT execution_id, source, at_version, forked_at FROM forks WHERE execution_id = :id;

-- forks: the executions that go on from one, oldest first
SELECT execution_id, source, at_version, forked_at FROM forks WHERE source = :id
ORDER BY forked_at, execution_id LIMIT :limit;
