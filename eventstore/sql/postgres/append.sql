-- append: a batch, in one round trip; the daemons that are fenced, the executions that moved on
SELECT fenced, losers FROM sagad_append(
    %s,
    %s, %s,
    %s, %s, %s, %s,
    %s, %s,
    %s, %s, %s, %s, %s,
    %s, %s, %s, %s, %s, %s, %s, %s, %s,
    %s, %s,
    %s, %s, %s, %s, %s,
    %s, %s,
    %s, %s, %s,
    %s,
    %s, %s, %s, %s
);

-- append_slots: the same of a batch that changes slots; also the executions that found none free
SELECT fenced, losers, filled FROM sagad_append_slots(
    %s::jsonb,
    %s,
    %s, %s,
    %s, %s, %s, %s,
    %s, %s,
    %s, %s, %s, %s, %s,
    %s, %s, %s, %s, %s, %s, %s, %s, %s,
    %s, %s,
    %s, %s, %s, %s, %s,
    %s, %s,
    %s, %s, %s,
    %s,
    %s, %s, %s, %s
);

-- put_slots: changes of many executions, for a rebuild
SELECT sagad_put_slots(%s::jsonb, false);

-- clear_slots: all of them, before a rebuild, but for messages that deleted executions have collected
DELETE FROM slots WHERE substr(address, 1, 9) <> '#message:' OR execution_id NOT IN (
    SELECT execution_id FROM deleted_executions WHERE restored_at IS NULL
);

-- keep_keys: the greatest keys of executions that were deleted, after a rebuild
INSERT INTO latest_keys AS k (trigger_name, dedupe_key)
SELECT trigger_name, max(dedupe_key) FROM deleted_executions
WHERE trigger_name IS NOT NULL AND dedupe_key IS NOT NULL GROUP BY trigger_name
ON CONFLICT (trigger_name) DO UPDATE SET dedupe_key = excluded.dedupe_key WHERE k.dedupe_key < excluded.dedupe_key;

-- clear_rates: all of them, before a rebuild
DELETE FROM rates;

-- put_index: changes of many executions, for a rebuild
SELECT sagad_put_index(
    %s, %s, %s, %s, %s,
    %s, %s, %s, %s, %s, %s, %s, %s, %s,
    %s, %s,
    %s, %s, %s, %s, %s,
    %s, %s,
    %s, %s, %s,
    %s,
    %s, %s, %s, %s
);

-- put_approvals: replace the rows of some approvals
SELECT sagad_put_approvals(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s);

-- put_forks: executions that go on from others
SELECT sagad_put_forks(%s, %s, %s, %s);

-- put_uses: which executions refer to which payloads
INSERT INTO payload_uses (execution_id, hash) SELECT * FROM unnest(%s::uuid[], %s::text[])
ON CONFLICT (execution_id, hash) DO NOTHING;

-- restore: what was deleted comes back
UPDATE deleted_executions SET restored_at = %s WHERE execution_id = %s AND restored_at IS NULL;

-- delete_execution: with all that is its own; or why not
SELECT sagad_delete_execution(%s, %s, %s, %s, %s);

-- clear_forks: all of them, before a rebuild
DELETE FROM forks;

-- purge_subjects: leave nothing of keys that were destroyed
VACUUM subjects;

-- lock_log: keep all who append waiting until the transaction ends
SELECT sagad_lock_log();

-- clear_executions: all of them, before a rebuild
DELETE FROM executions;

-- clear_timers: all of them, before a rebuild
DELETE FROM timers;

-- clear_approvals: all of them, before a rebuild
DELETE FROM approvals;

-- clear_latest_keys: all of them, before a rebuild
DELETE FROM latest_keys;

-- keep_leases: who has them, before a rebuild
CREATE TEMPORARY TABLE kept_leases (execution_id uuid PRIMARY KEY, daemon uuid, hinted boolean) ON COMMIT DROP;

-- clear_leases: all of them; one that is claimed at this moment goes as it is claimed
WITH gone AS (DELETE FROM leases RETURNING execution_id, daemon, hinted) INSERT INTO kept_leases SELECT * FROM gone;

-- restore_leases: to whom had them, after a rebuild
UPDATE leases l SET daemon = k.daemon, hinted = k.hinted FROM kept_leases k WHERE l.execution_id = k.execution_id;

-- get_payloads: many by hash
SELECT hash, data, object FROM payloads WHERE hash = ANY (%s);

-- get_keys: many by id
SELECT key_id, wrapped FROM subjects WHERE key_id = ANY (%s);

-- use_keys: note whose values keys seal, unless one is not there any more
SELECT sagad_use_keys(%s, %s, %s);

-- read: the events of one execution in order of version
SELECT originator_version, notification_id, topic, state FROM stored_events
WHERE originator_id = %s AND originator_version > %s AND originator_version <= %s ORDER BY originator_version;

-- read_many: the first events of each of these executions
SELECT e.* FROM unnest(%s::uuid[]) AS ids (id) CROSS JOIN LATERAL (
    SELECT originator_id, originator_version, notification_id, topic, state FROM stored_events
    WHERE originator_id = ids.id ORDER BY originator_version LIMIT %s
) AS e ORDER BY e.originator_id, e.originator_version;

-- read_all: the whole log in order of position
SELECT originator_id, originator_version, notification_id, topic, state FROM stored_events
WHERE notification_id > %s ORDER BY notification_id LIMIT %s;

-- versions: the last version of each of these executions
SELECT ids.id, last.version FROM unnest(%s::uuid[]) AS ids (id) CROSS JOIN LATERAL (
    SELECT e.originator_version AS version FROM stored_events e WHERE e.originator_id = ids.id
    ORDER BY e.originator_version DESC LIMIT 1
) AS last;

-- head: the greatest position
SELECT coalesce(max(notification_id), 0) FROM stored_events;

-- known_schema: whether this database has a schema of ours
SELECT to_regclass('sagad_schema') IS NOT NULL;

-- schema_version: the version of that schema
SELECT coalesce(max(version), 0) FROM sagad_schema;

-- lock_schema: one process migrates at a time
SELECT pg_advisory_xact_lock(1396786529::bigint << 32);

-- create_schema: the table of migrations applied
CREATE TABLE IF NOT EXISTS sagad_schema (version int PRIMARY KEY, name text NOT NULL);

-- record_migration: one migration applied
INSERT INTO sagad_schema (version, name) VALUES (%s, %s);

-- listen: be told of commits; the channel is the library's own
LISTEN stored_events;

-- listen_leases: be told of hints and orphans
LISTEN sagad_leases;

-- lock_session: show that this process lives
SELECT sagad_lock_session(%s);

-- join: become a member
INSERT INTO daemons (id, name, joined_at, beat_at, ttl)
VALUES (%s, %s, clock_timestamp(), clock_timestamp(), %s)
ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at RETURNING id;

-- beat: live, and see who else does; the last column says whether the row was there
WITH beaten AS (UPDATE daemons SET beat_at = clock_timestamp() WHERE id = %s RETURNING id, beat_at)
SELECT d.id, d.name, d.joined_at, coalesce(b.beat_at, d.beat_at), EXISTS (SELECT FROM beaten)
FROM daemons d LEFT JOIN beaten b ON b.id = d.id ORDER BY d.joined_at, d.id;

-- hint_holder: ask who has a lease to look at the execution; whether a member has it
SELECT sagad_hint(ARRAY[%s::uuid]) > 0;

-- fence_dead: fence and return the members that are dead
SELECT id, name, joined_at, beat_at FROM sagad_fence_dead(%s);

-- claim: take orphans
SELECT sagad_claim(%s, %s);

-- take: take one lease
SELECT sagad_take(%s, %s);

-- hinted: the executions that a daemon was asked to look at, but for those an append is changing; from now on it was not
UPDATE leases SET hinted = false WHERE execution_id IN (
    SELECT execution_id FROM leases WHERE daemon = %s AND hinted FOR UPDATE SKIP LOCKED
) RETURNING execution_id;

-- leave: cease to be a member
SELECT sagad_leave(%s);

-- durability: whether a commit waits for the disk
SHOW synchronous_commit;

-- make_durable: never answer from memory, whatever the server's default
SET synchronous_commit = on;

-- only_key_lookups: all that an append does is by key, so no plan made while a table was small may read all of it
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET plan_cache_mode = force_generic_plan;
