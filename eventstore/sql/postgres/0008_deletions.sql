-- What remains of an execution that retention has deleted: that it was there, under which key, and where it is now. One that
-- was restored keeps its row: its age counts from then.
CREATE TABLE deleted_executions (
    execution_id uuid PRIMARY KEY,
    workflow text COLLATE "C" NOT NULL,
    definition text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    trigger_name text COLLATE "C",
    dedupe_key text COLLATE "C",
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    events bigint NOT NULL,
    head text NOT NULL,
    deleted_at timestamptz NOT NULL,
    archived_as text,
    restored_at timestamptz
);
CREATE INDEX deleted_executions_by_time ON deleted_executions (deleted_at, execution_id);

-- Which executions refer to which payload. Of payloads that were there before this table it is not known: they stay.
CREATE TABLE payload_uses (
    execution_id uuid NOT NULL,
    hash text COLLATE "C" NOT NULL,
    PRIMARY KEY (execution_id, hash)
);
CREATE INDEX payload_uses_by_hash ON payload_uses (hash);
ALTER TABLE payloads ADD COLUMN counted boolean NOT NULL DEFAULT false;

-- As before; what was deleted cannot begin again, and is extended by nobody who still knows it.
CREATE OR REPLACE FUNCTION sagad_append(
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
    ), (SELECT -1 FROM deleted_executions d WHERE d.execution_id = a.id AND d.restored_at IS NULL), 0);
    IF losers IS NOT NULL THEN
        RETURN;
    END IF;
    INSERT INTO stored_events (originator_id, originator_version, topic, state)
    SELECT * FROM unnest(event_ids, versions, topics, states);
    IF payload_hashes <> '{}' THEN
        INSERT INTO payloads (hash, data, counted)
        SELECT p.hash, p.data, true FROM unnest(payload_hashes, payload_data) AS p (hash, data)
        ON CONFLICT (hash) DO UPDATE SET data = excluded.data WHERE payloads.data IS NULL;
    END IF;
    PERFORM sagad_put_index(kind_workflow, kind_definition, kind_status, kind_cause, kind_trigger, row_id, row_kind,
        row_dedupe_key, row_started, row_updated, row_finished, row_error, latest_trigger, latest_key,
        change_status, change_cause, changed_id, changed_kind, changed_updated, changed_finished, changed_error,
        cleared_execution, cleared_timer, set_execution, set_timer, set_due, finished, freed, leased, holder, hinted_at);
    PERFORM pg_notify('stored_events', '');
END
$$;

-- Forks, each of a source that is there: one that was deleted meanwhile refuses the append, naming the fork.
CREATE FUNCTION sagad_put_forks(fork_id uuid[], fork_source uuid[], fork_version bigint[], fork_at timestamptz[])
RETURNS void LANGUAGE plpgsql AS
$$
DECLARE
    orphan uuid;
BEGIN
    SELECT f.id INTO orphan FROM unnest(fork_id, fork_source) AS f (id, source) JOIN deleted_executions d
    ON d.execution_id = f.source AND d.restored_at IS NULL LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%', orphan USING ERRCODE = 'SG002';
    END IF;
    INSERT INTO forks (execution_id, source, at_version, forked_at)
    SELECT * FROM unnest(fork_id, fork_source, fork_version, fork_at) ON CONFLICT (execution_id) DO NOTHING;
END
$$;

-- Delete an execution that is as the caller knows it, and remember that; or say in a word why not. Its message slots stay:
-- they keep messages that it has collected from being taken again. Lock order as everywhere: the log's lock first.
CREATE FUNCTION sagad_delete_execution(
    gone uuid, at_version bigint, last_hash text, now timestamptz, archive text
) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
    known executions;
BEGIN
    PERFORM sagad_lock_log();
    SELECT * INTO known FROM executions WHERE execution_id = gone;
    IF NOT FOUND THEN
        RETURN 'gone';
    ELSIF known.finished_at IS NULL OR at_version <> (
        SELECT max(originator_version) FROM stored_events WHERE originator_id = gone
    ) THEN
        RETURN 'changed';
    ELSIF EXISTS (SELECT FROM leases WHERE execution_id = gone) THEN
        RETURN 'owed';
    ELSIF EXISTS (SELECT FROM forks WHERE source = gone) THEN
        RETURN 'forked';
    END IF;
    INSERT INTO deleted_executions AS d (execution_id, workflow, definition, status, trigger_name, dedupe_key, started_at,
        finished_at, events, head, deleted_at, archived_as)
    VALUES (gone, known.workflow, known.definition, known.status, known.trigger_name, known.dedupe_key, known.started_at,
        known.finished_at, at_version, last_hash, now, archive)
    ON CONFLICT (execution_id) DO UPDATE SET workflow = excluded.workflow, definition = excluded.definition,
        status = excluded.status, finished_at = excluded.finished_at, events = excluded.events, head = excluded.head,
        deleted_at = excluded.deleted_at, archived_as = excluded.archived_as, restored_at = NULL;
    DELETE FROM stored_events WHERE originator_id = gone;
    DELETE FROM executions WHERE execution_id = gone;
    DELETE FROM snapshots WHERE execution_id = gone;
    DELETE FROM timers WHERE execution_id = gone;
    DELETE FROM approvals WHERE execution_id = gone;
    DELETE FROM forks WHERE execution_id = gone;
    DELETE FROM chunks WHERE execution_id = gone;
    DELETE FROM streams WHERE execution_id = gone;
    WITH unused AS (DELETE FROM payload_uses WHERE execution_id = gone RETURNING hash)
    DELETE FROM payloads p USING unused u WHERE p.hash = u.hash AND p.counted
        AND NOT EXISTS (SELECT FROM payload_uses o WHERE o.hash = p.hash AND o.execution_id <> gone);
    RETURN 'deleted';
END
$$;
