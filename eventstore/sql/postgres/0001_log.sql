-- The log. The eventsourcing library's own table, so that its tools can read it; the position is the notification id.
CREATE TABLE IF NOT EXISTS stored_events (
    originator_id uuid NOT NULL,
    originator_version bigint NOT NULL,
    topic text,
    state bytea,
    notification_id bigserial,
    PRIMARY KEY (originator_id, originator_version)
) WITH (
    autovacuum_enabled = true,
    autovacuum_vacuum_threshold = 100000000,
    autovacuum_vacuum_scale_factor = 0.5,
    autovacuum_analyze_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.01
);
CREATE UNIQUE INDEX IF NOT EXISTS stored_events_notification_id_idx ON stored_events (notification_id ASC);

-- Values too large for the log, by the SHA-256 of their JSON text; NULL bytes are a tombstone.
CREATE TABLE payloads (hash text PRIMARY KEY, data bytea);
ALTER TABLE payloads ALTER COLUMN data SET STORAGE EXTERNAL;

-- Definitions that executions are pinned to.
CREATE TABLE definitions (
    hash text PRIMARY KEY,
    workflow text NOT NULL,
    document bytea NOT NULL,
    first_seen_at timestamptz NOT NULL
);
CREATE INDEX definitions_by_workflow ON definitions (workflow, first_seen_at);

-- How far each reader of the whole log has come.
CREATE TABLE cursors (name text PRIMARY KEY, position bigint NOT NULL);

-- Cached folds.
CREATE TABLE snapshots (
    execution_id uuid NOT NULL,
    version bigint NOT NULL,
    format text NOT NULL,
    state bytea NOT NULL,
    taken_at timestamptz NOT NULL,
    label text,
    PRIMARY KEY (execution_id, version)
);

-- Derived from the log: one row for each execution. No index has a column that changes before the end, and room is left
-- in each page: so updates touch no index.
CREATE TABLE executions (
    execution_id uuid PRIMARY KEY,
    workflow text NOT NULL,
    definition text NOT NULL,
    status text NOT NULL,
    cause text NOT NULL,
    busy boolean NOT NULL,
    trigger_name text,
    dedupe_key text COLLATE "C",
    started_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    finished_at timestamptz,
    error text
) WITH (fillfactor = 70);
CREATE INDEX executions_by_start ON executions (started_at, execution_id);
CREATE INDEX executions_by_workflow ON executions (workflow, started_at, execution_id);
CREATE INDEX executions_by_trigger ON executions (trigger_name, dedupe_key) WHERE trigger_name IS NOT NULL;
CREATE INDEX executions_unfinished ON executions (execution_id) WHERE finished_at IS NULL;

-- Derived from the log: durable due times.
CREATE TABLE timers (
    execution_id uuid NOT NULL,
    timer_id text NOT NULL,
    due_at timestamptz NOT NULL,
    PRIMARY KEY (execution_id, timer_id)
);
CREATE INDEX timers_by_due ON timers (due_at, execution_id, timer_id);

-- The log's lock. Whoever appends or rebuilds the index takes it first, before any row, and holds it to the end of the
-- transaction. So positions are given and become visible in the same order, and a reader of the whole log never skips:
-- the lock is let go only after the commit is visible. An advisory lock, because a table lock would queue behind
-- autovacuum and cancel it. Lock order: this lock, then events, payloads, timers, executions.
CREATE FUNCTION sagad_lock_log() RETURNS void LANGUAGE sql AS
$$ SELECT pg_advisory_xact_lock((1396786529::bigint << 32) | 'stored_events'::regclass::oid::bigint) $$;

-- Change the derived tables: timers cleared, then set; a finished execution drops all of its own.
CREATE FUNCTION sagad_put_index(
    row_id uuid[], row_workflow text[], row_definition text[], row_status text[], row_cause text[], row_busy boolean[],
    row_trigger text[], row_dedupe_key text[], row_started timestamptz[], row_updated timestamptz[],
    row_finished timestamptz[], row_error text[],
    cleared_execution uuid[], cleared_timer text[],
    set_execution uuid[], set_timer text[], set_due timestamptz[],
    finished uuid[]
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
        INSERT INTO executions AS e (execution_id, workflow, definition, status, cause, busy, trigger_name, dedupe_key,
            started_at, updated_at, finished_at, error)
        SELECT * FROM unnest(row_id, row_workflow, row_definition, row_status, row_cause, row_busy, row_trigger,
            row_dedupe_key, row_started, row_updated, row_finished, row_error)
        ON CONFLICT (execution_id) DO UPDATE SET workflow = excluded.workflow, definition = excluded.definition,
            status = excluded.status, cause = excluded.cause, busy = excluded.busy,
            trigger_name = excluded.trigger_name, dedupe_key = excluded.dedupe_key, started_at = excluded.started_at,
            updated_at = excluded.updated_at, finished_at = excluded.finished_at, error = excluded.error;
    END IF;
    IF finished <> '{}' THEN
        DELETE FROM timers t USING unnest(finished) AS f (execution_id) WHERE t.execution_id = f.execution_id;
    END IF;
END
$$;

-- Append a batch and change the derived tables, or return the executions that are not at the version expected.
CREATE FUNCTION sagad_append(
    ids uuid[], after_versions bigint[],
    event_ids uuid[], versions bigint[], topics text[], states bytea[],
    payload_hashes text[], payload_data bytea[],
    row_id uuid[], row_workflow text[], row_definition text[], row_status text[], row_cause text[], row_busy boolean[],
    row_trigger text[], row_dedupe_key text[], row_started timestamptz[], row_updated timestamptz[],
    row_finished timestamptz[], row_error text[],
    cleared_execution uuid[], cleared_timer text[],
    set_execution uuid[], set_timer text[], set_due timestamptz[],
    finished uuid[]
) RETURNS uuid[] LANGUAGE plpgsql AS
$$
DECLARE
    losers uuid[];
BEGIN
    PERFORM sagad_lock_log();
    SELECT array_agg(a.id) INTO losers FROM unnest(ids, after_versions) AS a (id, version)
    WHERE a.version <> coalesce((
        SELECT e.originator_version FROM stored_events e WHERE e.originator_id = a.id
        ORDER BY e.originator_version DESC LIMIT 1
    ), 0);
    IF losers IS NOT NULL THEN
        RETURN losers;
    END IF;
    INSERT INTO stored_events (originator_id, originator_version, topic, state)
    SELECT * FROM unnest(event_ids, versions, topics, states);
    IF payload_hashes <> '{}' THEN
        INSERT INTO payloads (hash, data) SELECT * FROM unnest(payload_hashes, payload_data)
        ON CONFLICT (hash) DO UPDATE SET data = excluded.data WHERE payloads.data IS NULL;
    END IF;
    PERFORM sagad_put_index(row_id, row_workflow, row_definition, row_status, row_cause, row_busy, row_trigger,
        row_dedupe_key, row_started, row_updated, row_finished, row_error, cleared_execution, cleared_timer,
        set_execution, set_timer, set_due, finished);
    PERFORM pg_notify('stored_events', '');
    RETURN NULL;
END
$$;
