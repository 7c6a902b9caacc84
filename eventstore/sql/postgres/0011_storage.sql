-- Executions that stay, with their payloads, whatever the rules and the quotas say. No part of the log.
CREATE TABLE pins (
    execution_id uuid PRIMARY KEY,
    pinned_at timestamptz NOT NULL,
    pinned_by text NOT NULL,
    reason text NOT NULL
);

-- Whether a payload was packed after it was written, or is not made smaller by that. False for a tombstone.
ALTER TABLE payloads ADD COLUMN packed boolean NOT NULL DEFAULT false;

-- The name of the object outside of the database that holds a payload's bytes, when they are not here.
ALTER TABLE payloads ADD COLUMN object text;

-- Objects that no payload has: one is about to be written since a time, or, without a time, to be removed.
CREATE TABLE loose_objects (
    name text PRIMARY KEY,
    hash text NOT NULL,
    noted_at timestamptz
);
CREATE INDEX loose_objects_by_hash ON loose_objects (hash);

-- When payloads were read last, to the minute or so, where that is noted. A table of its own: payloads are large rows.
CREATE TABLE payload_reads (hash text PRIMARY KEY, read_at timestamptz NOT NULL);

-- Delete an execution that is as the caller knows it, and remember that; or say in a word why not. Its message slots stay:
-- they keep messages that it has collected from being taken again. Lock order as everywhere: the log's lock first.
CREATE OR REPLACE FUNCTION sagad_delete_execution(
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
    ELSIF EXISTS (SELECT FROM pins WHERE execution_id = gone) THEN
        RETURN 'pinned';
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
    WITH unused AS (DELETE FROM payload_uses WHERE execution_id = gone RETURNING hash),
    dropped AS (
        DELETE FROM payloads p USING unused u WHERE p.hash = u.hash AND p.counted
            AND NOT EXISTS (SELECT FROM payload_uses o WHERE o.hash = p.hash AND o.execution_id <> gone)
        RETURNING p.hash, p.object
    )
    INSERT INTO loose_objects (name, hash) SELECT object, hash FROM dropped WHERE object IS NOT NULL
    ON CONFLICT (name) DO UPDATE SET noted_at = NULL;
    RETURN 'deleted';
END
$$;
