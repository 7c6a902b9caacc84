-- used: payloads and their bytes by workflow, each once
SELECT workflow, count(size), coalesce(sum(size), 0), count(*) - count(size) FROM (
    SELECT DISTINCT e.workflow AS workflow, p.hash AS hash, length(p.data) AS size
    FROM payload_uses u JOIN executions e ON e.execution_id = u.execution_id JOIN payloads p ON p.hash = u.hash
    WHERE p.data IS NOT NULL OR p.object IS NOT NULL
) used GROUP BY workflow ORDER BY workflow;

-- unneeded: what nobody needs to go on, of a workflow; the caller puts what it wants in the places of {conditions} and
-- {order}
SELECT p.hash, length(p.data) FROM payload_uses u JOIN executions e ON e.execution_id = u.execution_id
JOIN payloads p ON p.hash = u.hash LEFT JOIN payload_reads r ON r.hash = p.hash
WHERE e.workflow = :workflow AND e.finished_at IS NOT NULL AND p.data IS NOT NULL AND p.counted
    AND {conditions} AND NOT EXISTS (
        SELECT 1 FROM payload_uses o LEFT JOIN executions x ON x.execution_id = o.execution_id
        WHERE o.hash = p.hash AND (
            x.finished_at IS NULL OR x.workflow <> :workflow
            OR EXISTS (SELECT 1 FROM forks f WHERE f.source = o.execution_id)
            OR EXISTS (SELECT 1 FROM pins n WHERE n.execution_id = o.execution_id)
        )
    )
GROUP BY p.hash ORDER BY {order}, p.hash LIMIT :limit;

-- evict: leave a tombstone, unless somebody needs it
UPDATE payloads SET data = NULL, packed = false WHERE hash = :hash AND data IS NOT NULL AND counted
    AND NOT EXISTS (
        SELECT 1 FROM payload_uses o LEFT JOIN executions x ON x.execution_id = o.execution_id
        WHERE o.hash = payloads.hash AND (
            x.finished_at IS NULL OR x.workflow <> :workflow
            OR EXISTS (SELECT 1 FROM forks f WHERE f.source = o.execution_id)
            OR EXISTS (SELECT 1 FROM pins n WHERE n.execution_id = o.execution_id)
        )
    );

-- pack: the same value in other bytes
UPDATE payloads SET data = :data, packed = true WHERE hash = :hash AND data IS NOT NULL AND NOT packed;

-- leave_unpacked: it would not be smaller
UPDATE payloads SET packed = true WHERE hash = :hash AND data IS NOT NULL AND NOT packed;

-- note_reads: of those that are here; the caller puts their names in the place of {hashes}
INSERT INTO payload_reads (hash, read_at) SELECT hash, :at FROM payloads WHERE data IS NOT NULL AND hash IN ({hashes})
ON CONFLICT (hash) DO UPDATE SET read_at = excluded.read_at WHERE payload_reads.read_at < excluded.read_at;

-- forget_reads: of those that are not here any more
DELETE FROM payload_reads WHERE NOT EXISTS (
    SELECT 1 FROM payloads p WHERE p.hash = payload_reads.hash AND p.data IS NOT NULL
);

-- lock_log: on Postgres, nobody begins to need one meanwhile; SQLite lets one transaction write at a time anyway
SELECT sagad_lock_log();
