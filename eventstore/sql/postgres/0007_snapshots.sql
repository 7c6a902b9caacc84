-- The latest time of all events that a snapshot holds: with it, the state at a time is read from the nearest snapshot
-- before. NULL, in those of older programs: not known.
ALTER TABLE snapshots ADD COLUMN covers_to timestamptz;

-- Stored bytes as JSON; NULL for what was compressed or encrypted, and for what is gone.
CREATE FUNCTION sagad_json(data bytea) RETURNS json LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS
$$
BEGIN
    RETURN convert_from(data, 'UTF8')::json;
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END
$$;

-- For people: the log with its events opened. A value too large for the log is a reference into `payloads`.
CREATE VIEW sagad_events AS
SELECT execution_id, version, position, name, (data ->> 'at')::timestamptz AS at, data ->> 'address' AS step, data
FROM (
    SELECT originator_id AS execution_id, originator_version AS version, notification_id AS position,
        split_part(topic, '/', 1) AS name, sagad_json(state) AS data
    FROM stored_events
) opened;

-- For people: who was asked what, from when to when, with the execution's input. Open ones have no `ended_at`.
CREATE VIEW sagad_approvals AS
SELECT a.execution_id, a.workflow, a.address AS step, a.prompt, a.requested_at AS asked_at, a.decided_at AS ended_at,
    a.status, a.due_at, e.trigger_name, e.dedupe_key,
    coalesce((SELECT sagad_json(p.data) FROM payloads p WHERE p.hash = s.input ->> '$ref'), s.input) AS input
FROM approvals a
LEFT JOIN executions e ON e.execution_id = a.execution_id
LEFT JOIN LATERAL (
    SELECT sagad_json(state) -> 'input' AS input FROM stored_events
    WHERE originator_id = a.execution_id AND topic LIKE 'ExecutionStarted/%' ORDER BY originator_version LIMIT 1
) s ON true
WHERE a.approver = '';

-- For people: what each variable was, from when to when. Ask for some executions: else the whole log is read. The first
-- values are the definition's, and not here.
CREATE VIEW sagad_variables AS
SELECT execution_id, name, value, set_at,
    lead(set_at) OVER (PARTITION BY execution_id, name ORDER BY version) AS until
FROM (
    SELECT originator_id AS execution_id, originator_version AS version, data ->> 'name' AS name,
        data -> 'value' AS value, (data ->> 'at')::timestamptz AS set_at
    FROM (
        SELECT originator_id, originator_version, sagad_json(state) AS data FROM stored_events
        WHERE topic LIKE 'VariableSet/%'
    ) opened
) variables;
