-- put_pin: in place of the one there is, if there is such an execution
INSERT INTO pins (execution_id, pinned_at, pinned_by, reason)
SELECT execution_id, :at, :by, :reason FROM executions WHERE execution_id = :execution_id
ON CONFLICT (execution_id) DO UPDATE
SET pinned_at = excluded.pinned_at, pinned_by = excluded.pinned_by, reason = excluded.reason;

-- drop_pin: the execution may go again
DELETE FROM pins WHERE execution_id = :execution_id;

-- pins_of: those of some executions; the caller puts their names in the place of {executions}
SELECT execution_id, pinned_at, pinned_by, reason FROM pins WHERE execution_id IN ({executions});

-- lock_log: on Postgres, nobody deletes the execution meanwhile; SQLite lets one transaction write at a time anyway
SELECT sagad_lock_log();
