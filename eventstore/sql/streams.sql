-- begin_run: a run of this number, unless there is one already
INSERT INTO streams (execution_id, address, run, attempt, chunks, bytes, began_at)
VALUES (:execution_id, :address, :run, :attempt, 0, 0, :at)
ON CONFLICT (execution_id, address) DO UPDATE
SET run = excluded.run, attempt = excluded.attempt, chunks = 0, bytes = 0, began_at = excluded.began_at, ended_at = NULL
WHERE streams.run < excluded.run;

-- drop_old_chunks: those of the runs before this one
DELETE FROM chunks WHERE execution_id = :execution_id AND address = :address AND run < :run;

-- newest_run: of a stream
SELECT run, attempt, chunks, bytes, began_at, ended_at FROM streams
WHERE execution_id = :execution_id AND address = :address;

-- add_batch: unless another run has begun; a repeat changes nothing
INSERT INTO chunks (execution_id, address, run, last, first, data)
SELECT execution_id, address, run, :last, :first, :data FROM streams
WHERE execution_id = :execution_id AND address = :address AND run = :run
ON CONFLICT (execution_id, address, run, last) DO NOTHING;

-- count_batch: how far the run has come; no row when another has begun
UPDATE streams SET chunks = :last, bytes = :bytes
WHERE execution_id = :execution_id AND address = :address AND run = :run;

-- end_run: nothing follows
UPDATE streams SET ended_at = :at WHERE execution_id = :execution_id AND address = :address AND run = :run;

-- read_batches: in order
SELECT first, last, data FROM chunks
WHERE execution_id = :execution_id AND address = :address AND run = :run AND last > :after
ORDER BY last LIMIT :limit;

-- over_streams: some that ended before a time, or whose execution did
SELECT execution_id, address FROM streams s WHERE s.ended_at < :before OR EXISTS (
    SELECT 1 FROM executions e WHERE e.execution_id = s.execution_id AND e.finished_at < :before
) LIMIT :limit;

-- drop_chunks: all of a stream
DELETE FROM chunks WHERE execution_id = :execution_id AND address = :address;

-- drop_stream: the stream itself
DELETE FROM streams WHERE execution_id = :execution_id AND address = :address;

-- oldest_end: when the first of those that are there ended
SELECT min(ended_at) FROM streams;
