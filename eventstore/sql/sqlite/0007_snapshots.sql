-- The latest time of all events that a snapshot holds: with it, the state at a time is read from the nearest snapshot
-- before. NULL, in those of older programs: not known.
ALTER TABLE snapshots ADD COLUMN covers_to INTEGER;

-- For people: the log with its events opened; NULL for what was compressed or encrypted. A value too large for the log is
-- a reference into `payloads`. Times here and below are UTC texts to the millisecond, which compare as texts.
CREATE VIEW sagad_events AS
SELECT execution_id, version, position, name, strftime('%Y-%m-%dT%H:%M:%f', json_extract(data, '$.at')) AS at,
    json_extract(data, '$.address') AS step, data
FROM (
    SELECT originator_id AS execution_id, originator_version AS version, rowid AS position,
        substr(topic, 1, instr(topic, '/') - 1) AS name,
        CASE WHEN json_valid(CAST(state AS TEXT)) THEN CAST(state AS TEXT) END AS data
    FROM stored_events
);

-- For people: who was asked what, from when to when, with the execution's input. Open ones have no `ended_at`.
CREATE VIEW sagad_approvals AS
SELECT a.execution_id, a.workflow, a.address AS step, a.prompt,
    strftime('%Y-%m-%dT%H:%M:%f', a.requested_at / 1000000.0, 'unixepoch') AS asked_at,
    strftime('%Y-%m-%dT%H:%M:%f', a.decided_at / 1000000.0, 'unixepoch') AS ended_at,
    a.status, strftime('%Y-%m-%dT%H:%M:%f', a.due_at / 1000000.0, 'unixepoch') AS due_at,
    e.trigger_name, e.dedupe_key,
    (
        SELECT coalesce(
            (
                SELECT CASE WHEN json_valid(CAST(p.data AS TEXT)) THEN CAST(p.data AS TEXT) END
                FROM payloads p WHERE p.hash = json_extract(s.data, '$.input."$ref"')
            ),
            json_extract(s.data, '$.input')
        )
        FROM sagad_events s WHERE s.execution_id = a.execution_id AND s.name = 'ExecutionStarted' LIMIT 1
    ) AS input
FROM approvals a
LEFT JOIN executions e ON e.execution_id = a.execution_id
WHERE a.approver = '';

-- For people: what each variable was, from when to when. Ask for some executions: else the whole log is read. The first
-- values are the definition's, and not here.
CREATE VIEW sagad_variables AS
SELECT execution_id, json_extract(data, '$.name') AS name, json_extract(data, '$.value') AS value, at AS set_at,
    lead(at) OVER (PARTITION BY execution_id, json_extract(data, '$.name') ORDER BY version) AS until
FROM sagad_events WHERE name = 'VariableSet';
