-- find_result: what there is under a key: a result, or who makes it
SELECT workflow, claimed_by, value, execution_id, address, stored_at, expires_at FROM results
WHERE cache = :cache AND key = :key AND expires_at > :now;

-- claim_result: take the making of a result, unless there is one or another makes it
INSERT INTO results (cache, key, workflow, claimed_by, expires_at)
VALUES (:cache, :key, :workflow, :by, :until)
ON CONFLICT (cache, key) DO UPDATE
SET workflow = excluded.workflow, claimed_by = excluded.claimed_by, expires_at = excluded.expires_at,
    value = NULL, execution_id = NULL, address = NULL, stored_at = NULL
WHERE results.expires_at <= :now OR results.claimed_by = excluded.claimed_by;

-- extend_claim: make one's own last longer
UPDATE results SET expires_at = :until WHERE cache = :cache AND key = :key AND claimed_by = :by;

-- release_claim: nobody makes it
DELETE FROM results WHERE cache = :cache AND key = :key AND claimed_by = :by;

-- put_result: in place of one's own claim
UPDATE results SET workflow = :workflow, claimed_by = NULL, value = :value, execution_id = :execution_id,
    address = :address, stored_at = :stored_at, expires_at = :expires_at
WHERE cache = :cache AND key = :key AND claimed_by = :by;

-- kept_results: in order of cache and key; the caller puts its conditions in the place of {conditions}
SELECT cache, key, length(value), workflow, execution_id, address, stored_at, expires_at FROM results
WHERE claimed_by IS NULL AND expires_at > :now AND {conditions} ORDER BY cache, key LIMIT :limit;

-- clear_claims: as {conditions} say
DELETE FROM results WHERE claimed_by IS NOT NULL AND {conditions};

-- clear_results: as {conditions} say
DELETE FROM results WHERE claimed_by IS NULL AND {conditions};

-- prune_results: some of those that have expired
DELETE FROM results WHERE (cache, key) IN (
    SELECT cache, key FROM results WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit
) AND expires_at <= :now;
