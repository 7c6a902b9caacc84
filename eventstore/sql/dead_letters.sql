-- put_letter: one that is there waits again, with the newer reason; what it holds stays
INSERT INTO dead_letters (id, trigger_name, source, place, code, reason, times, first_at, last_at, state, content)
VALUES (:id, :trigger, :source, :place, :code, :reason, :times, :first_at, :last_at, 'waiting', :content)
ON CONFLICT (id) DO UPDATE
SET code = excluded.code, reason = excluded.reason, last_at = excluded.last_at, times = dead_letters.times + 1,
    state = 'waiting';

-- find_letters: those set aside last first
SELECT id, trigger_name, source, place, code, reason, times, first_at, last_at, state, settled_at, settled_by, outcome,
    execution_id, content, edited
FROM dead_letters WHERE {conditions}
ORDER BY last_at DESC, id DESC LIMIT :limit;

-- edit_letter: what is given in again
UPDATE dead_letters SET edited = :edited WHERE id = :id AND state = 'waiting';

-- settle_letter: what became of it
UPDATE dead_letters
SET state = :state, settled_at = :at, settled_by = :by, outcome = :outcome, execution_id = :execution_id
WHERE id = :id AND state = 'waiting';

-- prune_letters: what is old
DELETE FROM dead_letters WHERE last_at < :before;

-- prune_more_letters: the oldest of too many
DELETE FROM dead_letters
WHERE id IN (SELECT id FROM dead_letters ORDER BY last_at DESC, id DESC LIMIT :most OFFSET :keep);

-- oldest_letter: when it was set aside
SELECT min(last_at) FROM dead_letters;
