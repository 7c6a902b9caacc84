-- append: a batch, in one round trip
SELECT sagad_append(
    %s, %s,
    %s, %s, %s, %s,
    %s, %s,
    %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
    %s, %s,
    %s, %s, %s,
    %s
);

-- put_index: changes of many executions, for a rebuild
SELECT sagad_put_index(
    %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
    %s, %s,
    %s, %s, %s,
    %s
);

-- lock_log: keep all who append waiting until the transaction ends
SELECT sagad_lock_log();

-- clear_executions: all of them, before a rebuild
DELETE FROM executions;

-- clear_timers: all of them, before a rebuild
DELETE FROM timers;

-- get_payloads: many by hash
SELECT hash, data FROM payloads WHERE hash = ANY (%s);

-- read: the events of one execution in order of version
SELECT originator_version, notification_id, topic, state FROM stored_events
WHERE originator_id = %s AND originator_version > %s AND originator_version <= %s ORDER BY originator_version;

-- read_all: the whole log in order of position
SELECT originator_id, originator_version, notification_id, topic, state FROM stored_events
WHERE notification_id > %s ORDER BY notification_id LIMIT %s;

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

-- durability: whether a commit waits for the disk
SHOW synchronous_commit;

-- make_durable: never answer from memory, whatever the server's default
SET synchronous_commit = on;

-- only_key_lookups: all that an append does is by key, so no plan made while a table was small may read all of it
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET plan_cache_mode = force_generic_plan;
