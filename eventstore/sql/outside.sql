-- noted: the names under which a payload may be written, or is
SELECT name FROM loose_objects WHERE hash = :hash AND noted_at IS NOT NULL
UNION SELECT object FROM payloads WHERE hash = :hash AND object IS NOT NULL ORDER BY 1;

-- note: a payload is about to be written under a name; no row when that is given up already
INSERT INTO loose_objects (name, hash, noted_at) VALUES (:name, :hash, :at)
ON CONFLICT (name) DO UPDATE SET noted_at = excluded.noted_at WHERE loose_objects.noted_at IS NOT NULL;

-- move: the bytes are under a name that was noted, unless somebody needs them
UPDATE payloads SET data = NULL, packed = false, object = :name WHERE hash = :hash AND data IS NOT NULL AND counted
    AND EXISTS (SELECT 1 FROM loose_objects l WHERE l.name = :name AND l.hash = :hash AND l.noted_at IS NOT NULL)
    AND NOT EXISTS (
        SELECT 1 FROM payload_uses o LEFT JOIN executions x ON x.execution_id = o.execution_id
        WHERE o.hash = payloads.hash AND (
            x.finished_at IS NULL OR x.workflow <> :workflow
            OR EXISTS (SELECT 1 FROM forks f WHERE f.source = o.execution_id)
            OR EXISTS (SELECT 1 FROM pins n WHERE n.execution_id = o.execution_id)
        )
    );

-- moved: no note is needed for what a payload has, and no bytes are here; one row when that is so now
DELETE FROM loose_objects WHERE name = :name AND EXISTS (
    SELECT 1 FROM payloads p WHERE p.hash = :hash AND p.object = :name AND p.data IS NULL
);

-- give_up: notes that nobody comes back to
UPDATE loose_objects SET noted_at = NULL WHERE noted_at < :before AND NOT EXISTS (
    SELECT 1 FROM payloads p WHERE p.hash = loose_objects.hash AND p.object = loose_objects.name
);

-- unwanted: names that no payload has
SELECT name FROM loose_objects WHERE noted_at IS NULL ORDER BY name LIMIT :limit;

-- removed: there is no such object
DELETE FROM loose_objects WHERE name = :name AND noted_at IS NULL;

-- lock_log: on Postgres, nobody begins to need one meanwhile; SQLite lets one transaction write at a time anyway
SELECT sagad_lock_log();
