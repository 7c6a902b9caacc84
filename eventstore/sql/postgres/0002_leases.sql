-- Daemons of an older version wait here, and find then that they are: none becomes busy while the leases are made.
SELECT sagad_lock_log();

-- The daemons that live. All times are by this server's clock.
CREATE TABLE daemons (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    joined_at timestamptz NOT NULL,
    beat_at timestamptz NOT NULL,
    ttl interval NOT NULL
);

-- Derived from the log, but for who has it: a row for each execution with a handler owed. Few at a time, and short-lived.
CREATE TABLE leases (
    execution_id uuid PRIMARY KEY,
    daemon uuid,
    hinted boolean NOT NULL DEFAULT false
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX leases_hinted ON leases (daemon) WHERE hinted;
INSERT INTO leases (execution_id) SELECT execution_id FROM executions WHERE busy AND finished_at IS NULL;

-- Derived from the log: one row for each execution, as before but for `busy`: who is busy has a lease. No index has a
-- column that changes, in its predicate neither; what changes stands last; and there is room for a second version of each
-- row in its page. So the one change that most rows see touches no index and is short in the server's own log.
DROP FUNCTION sagad_append;
DROP FUNCTION sagad_put_index;
ALTER TABLE executions RENAME TO executions_before;
CREATE TABLE executions (
    execution_id uuid NOT NULL,
    started_at timestamptz NOT NULL,
    workflow text COLLATE "C" NOT NULL,
    definition text COLLATE "C" NOT NULL,
    trigger_name text COLLATE "C",
    dedupe_key text COLLATE "C",
    updated_at timestamptz NOT NULL,
    finished_at timestamptz,
    status text COLLATE "C" NOT NULL,
    cause text COLLATE "C" NOT NULL,
    error text
) WITH (fillfactor = 45);
INSERT INTO executions SELECT execution_id, started_at, workflow, definition, trigger_name, dedupe_key, updated_at,
    finished_at, status, cause, error
FROM executions_before;
DROP TABLE executions_before;
ALTER TABLE executions ADD PRIMARY KEY (execution_id);
CREATE INDEX executions_by_start ON executions (started_at, execution_id);
CREATE INDEX executions_by_workflow ON executions (workflow, started_at, execution_id);

-- Derived from the log: the greatest dedupe key of each trigger.
CREATE TABLE latest_keys (
    trigger_name text COLLATE "C" PRIMARY KEY,
    dedupe_key text COLLATE "C" NOT NULL
) WITH (fillfactor = 50);
INSERT INTO latest_keys SELECT trigger_name, max(dedupe_key) FROM executions
WHERE trigger_name IS NOT NULL AND dedupe_key IS NOT NULL GROUP BY trigger_name;

-- Hint at leases: this wakes the daemon that has one, all when none has it. Returns how many some daemon has.
CREATE FUNCTION sagad_hint(executions uuid[]) RETURNS bigint LANGUAGE sql AS
$$
    UPDATE leases l SET hinted = true FROM unnest(executions) AS h (execution_id) WHERE l.execution_id = h.execution_id;
    SELECT pg_notify('sagad_leases', coalesce(d.id::text, ''))
    FROM unnest(executions) AS h (execution_id) JOIN leases l USING (execution_id) LEFT JOIN daemons d ON d.id = l.daemon;
    SELECT count(d.id)
    FROM unnest(executions) AS h (execution_id) JOIN leases l USING (execution_id) JOIN daemons d ON d.id = l.daemon;
$$;

-- Change the derived tables: timers cleared, then set; rows written, or changed in part; a finished execution drops all
-- of its timers; leases given up, then taken where there is none, then hinted at. What repeats in rows is sent once, as a
-- kind. Arrays that are shorter than the others end in NULLs. A hint wakes the daemon that has the lease, all when none has it.
CREATE FUNCTION sagad_put_index(
    kind_workflow text[], kind_definition text[], kind_status text[], kind_cause text[], kind_trigger text[],
    row_id uuid[], row_kind bigint[], row_dedupe_key text[], row_started timestamptz[], row_updated timestamptz[],
    row_finished timestamptz[], row_error text[], latest_trigger text[], latest_key text[],
    change_status text[], change_cause text[],
    changed_id uuid[], changed_kind bigint[], changed_updated timestamptz[], changed_finished timestamptz[],
    changed_error text[],
    cleared_execution uuid[], cleared_timer text[],
    set_execution uuid[], set_timer text[], set_due timestamptz[],
    finished uuid[],
    freed uuid[], leased uuid[], holder uuid[], hinted_at uuid[]
) RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
    IF cleared_execution <> '{}' THEN
        DELETE FROM timers t USING unnest(cleared_execution, cleared_timer) AS c (execution_id, timer_id)
        WHERE t.execution_id = c.execution_id AND t.timer_id = c.timer_id;
    END IF;
    IF set_execution <> '{}' THEN
        INSERT INTO timers (execution_id, timer_id, due_at)
        SELECT * FROM unnest(set_execution, set_timer, set_due)
        ON CONFLICT (execution_id, timer_id) DO UPDATE SET due_at = excluded.due_at;
    END IF;
    IF row_id <> '{}' THEN
        INSERT INTO executions AS e (execution_id, started_at, workflow, definition, trigger_name, dedupe_key,
            updated_at, finished_at, status, cause, error)
        SELECT r.id, r.started_at, kind_workflow[r.kind], kind_definition[r.kind], kind_trigger[r.kind], r.dedupe_key,
            r.updated_at, r.finished_at, kind_status[r.kind], kind_cause[r.kind], r.error
        FROM unnest(row_id, row_kind, row_dedupe_key, row_started, row_updated, row_finished, row_error)
            AS r (id, kind, dedupe_key, started_at, updated_at, finished_at, error)
        ON CONFLICT (execution_id) DO UPDATE SET started_at = excluded.started_at, workflow = excluded.workflow,
            definition = excluded.definition, trigger_name = excluded.trigger_name, dedupe_key = excluded.dedupe_key,
            updated_at = excluded.updated_at, finished_at = excluded.finished_at, status = excluded.status,
            cause = excluded.cause, error = excluded.error;
        IF latest_trigger <> '{}' THEN
            INSERT INTO latest_keys AS k (trigger_name, dedupe_key) SELECT * FROM unnest(latest_trigger, latest_key)
            ON CONFLICT (trigger_name) DO UPDATE SET dedupe_key = excluded.dedupe_key
            WHERE k.dedupe_key < excluded.dedupe_key;
        END IF;
    END IF;
    IF changed_id <> '{}' THEN
        UPDATE executions e SET updated_at = c.updated_at, finished_at = c.finished_at,
            status = change_status[c.kind], cause = change_cause[c.kind], error = c.error
        FROM unnest(changed_id, changed_kind, changed_updated, changed_finished, changed_error)
            AS c (id, kind, updated_at, finished_at, error)
        WHERE e.execution_id = c.id;
    END IF;
    IF finished <> '{}' THEN
        DELETE FROM timers WHERE execution_id = ANY (finished);
    END IF;
    IF freed <> '{}' THEN
        DELETE FROM leases WHERE execution_id = ANY (freed);
    END IF;
    IF leased <> '{}' THEN
        INSERT INTO leases (execution_id, daemon) SELECT * FROM unnest(leased, holder)
        ON CONFLICT (execution_id) DO NOTHING;
        IF array_position(holder, NULL) IS NOT NULL THEN
            PERFORM pg_notify('sagad_leases', '');
        END IF;
    END IF;
    IF hinted_at <> '{}' THEN
        PERFORM sagad_hint(hinted_at);
    END IF;
END
$$;

-- Append a batch and change the derived tables; or write nothing, and return the daemons that are no members, or else
-- the executions that are not at the version expected.
CREATE FUNCTION sagad_append(
    writers uuid[],
    ids uuid[], after_versions bigint[],
    event_ids uuid[], versions bigint[], topics text[], states bytea[],
    payload_hashes text[], payload_data bytea[],
    kind_workflow text[], kind_definition text[], kind_status text[], kind_cause text[], kind_trigger text[],
    row_id uuid[], row_kind bigint[], row_dedupe_key text[], row_started timestamptz[], row_updated timestamptz[],
    row_finished timestamptz[], row_error text[], latest_trigger text[], latest_key text[],
    change_status text[], change_cause text[],
    changed_id uuid[], changed_kind bigint[], changed_updated timestamptz[], changed_finished timestamptz[],
    changed_error text[],
    cleared_execution uuid[], cleared_timer text[],
    set_execution uuid[], set_timer text[], set_due timestamptz[],
    finished uuid[],
    freed uuid[], leased uuid[], holder uuid[], hinted_at uuid[],
    OUT fenced uuid[], OUT losers uuid[]
) LANGUAGE plpgsql AS
$$
BEGIN
    PERFORM sagad_lock_log();
    SELECT array_agg(w.id) INTO fenced FROM unnest(writers) AS w (id)
    WHERE NOT EXISTS (SELECT FROM daemons d WHERE d.id = w.id);
    IF fenced IS NOT NULL THEN
        RETURN;
    END IF;
    SELECT array_agg(a.id) INTO losers FROM unnest(ids, after_versions) AS a (id, version)
    WHERE a.version <> coalesce((
        SELECT e.originator_version FROM stored_events e WHERE e.originator_id = a.id
        ORDER BY e.originator_version DESC LIMIT 1
    ), 0);
    IF losers IS NOT NULL THEN
        RETURN;
    END IF;
    INSERT INTO stored_events (originator_id, originator_version, topic, state)
    SELECT * FROM unnest(event_ids, versions, topics, states);
    IF payload_hashes <> '{}' THEN
        INSERT INTO payloads (hash, data) SELECT * FROM unnest(payload_hashes, payload_data)
        ON CONFLICT (hash) DO UPDATE SET data = excluded.data WHERE payloads.data IS NULL;
    END IF;
    PERFORM sagad_put_index(kind_workflow, kind_definition, kind_status, kind_cause, kind_trigger, row_id, row_kind,
        row_dedupe_key, row_started, row_updated, row_finished, row_error, latest_trigger, latest_key,
        change_status, change_cause, changed_id, changed_kind, changed_updated, changed_finished, changed_error,
        cleared_execution, cleared_timer, set_execution, set_timer, set_due, finished, freed, leased, holder, hinted_at);
    PERFORM pg_notify('stored_events', '');
END
$$;

-- One claim at a time, so that each sees what those before have taken. Every function below is one statement to its
-- caller: a process that is stopped in the middle holds no lock. Lock order: the log's, this one, then leases, daemons.
CREATE FUNCTION sagad_lock_claims() RETURNS void LANGUAGE sql AS
$$ SELECT pg_advisory_xact_lock((1396786529::bigint << 32) | 'leases'::regclass::oid::bigint) $$;

-- Two halves of the key of the lock that a daemon's session holds for as long as its process lives, shared so that it
-- never waits.
CREATE FUNCTION sagad_session_key(daemon uuid, half int) RETURNS int LANGUAGE sql IMMUTABLE AS
$$ SELECT ('x' || substr(replace(daemon::text, '-', ''), 8 * half + 1, 8))::bit(32)::int $$;

CREATE FUNCTION sagad_lock_session(daemon uuid) RETURNS boolean LANGUAGE sql AS
$$ SELECT pg_try_advisory_lock_shared(sagad_session_key(daemon, 0), sagad_session_key(daemon, 1)) $$;

CREATE FUNCTION sagad_session_lives(daemon uuid) RETURNS boolean LANGUAGE sql AS
$$
    SELECT EXISTS (
        SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND classid::int = sagad_session_key(daemon, 0) AND objid::int = sagad_session_key(daemon, 1)
    )
$$;

-- Since when sessions can live: the server's start, or its restart after a crash where this role may see that.
CREATE FUNCTION sagad_up_since() RETURNS timestamptz LANGUAGE sql AS
$$
    SELECT greatest(pg_postmaster_start_time(), (
        SELECT max(backend_start) FROM pg_stat_activity WHERE backend_type = 'checkpointer'
    ))
$$;

-- The daemons that are dead: those that have not beaten for their ttl; and those that have not beaten for a second and
-- have no session, once all had the time to connect since the server's start.
CREATE FUNCTION sagad_dead() RETURNS SETOF uuid LANGUAGE sql AS
$$
    SELECT id FROM daemons WHERE CASE
        WHEN beat_at + ttl < clock_timestamp() THEN true
        WHEN beat_at + interval '1 second' > clock_timestamp() THEN false
        ELSE sagad_up_since() + ttl < clock_timestamp() AND NOT sagad_session_lives(id)
    END
$$;

-- Fence daemons, but not the one that asks: it lives. The log's lock is held, so nothing of theirs is committed later.
CREATE FUNCTION sagad_fence_dead(asker uuid) RETURNS TABLE (id uuid, name text, joined_at timestamptz, beat_at timestamptz)
LANGUAGE plpgsql AS
$$
BEGIN
    IF NOT EXISTS (SELECT FROM sagad_dead() AS dead WHERE dead IS DISTINCT FROM asker) THEN
        RETURN;
    END IF;
    PERFORM sagad_lock_log();
    RETURN QUERY DELETE FROM daemons d WHERE d.id IN (SELECT sagad_dead()) AND d.id IS DISTINCT FROM asker
    RETURNING d.id, d.name, d.joined_at, d.beat_at;
    PERFORM pg_notify('sagad_leases', '');
END
$$;

CREATE FUNCTION sagad_leave(daemon uuid) RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
    PERFORM sagad_lock_log();
    DELETE FROM daemons WHERE id = daemon;
    PERFORM pg_notify('sagad_leases', '');
END
$$;

-- Take up to so many orphans; NULL for a claimer that is no member. Rows that an append is about to change are left.
CREATE FUNCTION sagad_claim(claimer uuid, most int) RETURNS uuid[] LANGUAGE plpgsql AS
$$
DECLARE
    claimed uuid[];
BEGIN
    PERFORM sagad_lock_claims();
    IF NOT EXISTS (SELECT FROM daemons WHERE id = claimer) THEN
        RETURN NULL;
    END IF;
    WITH orphans AS (
        SELECT l.execution_id FROM leases l
        WHERE l.daemon IS NULL OR NOT EXISTS (SELECT FROM daemons d WHERE d.id = l.daemon)
        LIMIT most FOR UPDATE OF l SKIP LOCKED
    ), taken AS (
        UPDATE leases l SET daemon = claimer, hinted = false FROM orphans o WHERE l.execution_id = o.execution_id
        RETURNING l.execution_id
    )
    SELECT array_agg(execution_id) INTO claimed FROM taken;
    RETURN coalesce(claimed, '{}');
END
$$;

-- Take one lease, an orphan or the taker's own; NULL for a taker that is no member.
CREATE FUNCTION sagad_take(taker uuid, execution uuid) RETURNS boolean LANGUAGE plpgsql AS
$$
BEGIN
    PERFORM sagad_lock_claims();
    IF NOT EXISTS (SELECT FROM daemons WHERE id = taker) THEN
        RETURN NULL;
    END IF;
    UPDATE leases l SET daemon = taker WHERE l.execution_id = execution
        AND (l.daemon IS NULL OR l.daemon = taker OR NOT EXISTS (SELECT FROM daemons d WHERE d.id = l.daemon));
    RETURN FOUND;
END
$$;
