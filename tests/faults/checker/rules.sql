-- Each gives what breaks the rule that it is named for (before the dash): execution, version, message.

-- key-1: two executions for one key
SELECT min(execution), 1, count(*) || ' executions for key ' || key || ' of ' || trigger
FROM started WHERE key IS NOT NULL GROUP BY trigger, key HAVING count(DISTINCT execution) > 1;

-- index-1: rows that the log implies, not there or another
SELECT execution, NULL, 'the log implies ' || row || ', the index has '
    || coalesce((SELECT row FROM found_rows AS f WHERE f.execution = i.execution), 'nothing')
FROM (SELECT execution, row FROM implied_rows EXCEPT SELECT execution, row FROM found_rows) AS i;

-- index-2: rows that the log does not imply
SELECT execution, NULL, 'the index has a row of it, the log has nothing'
FROM found_rows WHERE execution NOT IN (SELECT execution FROM implied_rows);

-- index-3: timers that the log implies and the index does not have
SELECT execution, NULL, 'timer ' || timer || ' of ' || due || ' is not in the index'
FROM (SELECT * FROM implied_timers EXCEPT SELECT * FROM found_timers);

-- index-4: timers that the log does not imply
SELECT execution, NULL, 'timer ' || timer || ' of ' || due || ' is in the index only'
FROM (SELECT * FROM found_timers EXCEPT SELECT * FROM implied_timers);

-- lease-1: something is owed, and nobody's
SELECT execution, NULL, 'something is owed, but there is no lease'
FROM (SELECT * FROM implied_leases EXCEPT SELECT * FROM found_leases);

-- lease-2: leased for nothing
SELECT execution, NULL, 'there is a lease, but nothing is owed'
FROM (SELECT * FROM found_leases EXCEPT SELECT * FROM implied_leases);

-- slots-1: limits that the store has otherwise than the log
SELECT NULL, NULL, 'of limit ' || name || ' for key "' || key || '" the log has ' || held || ' held and ' || waiting
    || ' waiting, the store ' || coalesce((SELECT held || ' and ' || waiting FROM found_slots AS f
        WHERE f.name = i.name AND f.key = i.key), 'nothing')
FROM (SELECT * FROM implied_slots EXCEPT SELECT * FROM found_slots) AS i;

-- slots-2: limits that only the store has
SELECT NULL, NULL, 'of limit ' || name || ' for key "' || key || '" the store has ' || held || ' held and ' || waiting
    || ' waiting, the log nothing'
FROM found_slots WHERE (name, key) NOT IN (SELECT name, key FROM implied_slots);

-- told-1: twice
SELECT parent, max(version), address || ' was told ' || count(*) || ' times of the end of ' || hex(child)
FROM told GROUP BY parent, address, attempt, child HAVING count(*) > 1;

-- told-2: otherwise than it was; what was never begun counts as cancelled
SELECT parent, version, address || ' was told that ' || hex(child) || ' has ' || status || ', which it has not'
FROM told WHERE (child, status) NOT IN (SELECT execution, status FROM ended)
    AND NOT (status = 'cancelled' AND child NOT IN (SELECT execution FROM started));

-- untold-1: ended, and the parent goes on without knowing it
SELECT execution, NULL, 'it has ended, and its parent ' || hex(parent) || ' was not told'
FROM started WHERE parent IS NOT NULL AND execution IN (SELECT execution FROM ended)
    AND parent NOT IN (SELECT execution FROM ended) AND execution NOT IN (SELECT child FROM told);

-- accepted-1: confirmed starts without an execution
SELECT execution, NULL, 'message ' || id || ' was accepted, but has not started it'
FROM sent WHERE kind = 'start' AND confirmed AND execution NOT IN (SELECT execution FROM started);

-- accepted-2: confirmed signals that are neither there nor refused: only a broker's message is confirmed before that
SELECT execution, NULL, 'message ' || id || ' was accepted, but its signal ' || signal || ' is not there'
FROM sent WHERE kind = 'signal' AND confirmed
    AND (execution, signal) NOT IN (SELECT execution, signal FROM signalled)
    AND id NOT IN (SELECT id FROM dead);

-- accepted-3: poison that was accepted and is not among the dead letters
SELECT NULL, NULL, 'message ' || id || ' was accepted and cannot be handled, but is no dead letter'
FROM sent WHERE kind = 'poison' AND confirmed AND id NOT IN (SELECT id FROM dead);

-- unasked-1: dead letters that were sound; a signal that came after the end is rightly one
SELECT execution, NULL, 'message ' || id || ' is a dead letter, but is a sound ' || kind
FROM sent WHERE kind <> 'poison' AND id IN (SELECT id FROM dead)
    AND NOT (kind = 'signal' AND execution IN (SELECT execution FROM ended));

-- unasked-2: executions of filtered or poisonous messages
SELECT execution, NULL, 'message ' || id || ' is ' || kind || ', but started it'
FROM sent WHERE kind IN ('filtered', 'poison') AND execution IN (SELECT execution FROM started);

-- unasked-3: executions that nobody has asked for
SELECT execution, 1, 'nobody has sent ' || coalesce(key, 'what started it')
FROM started WHERE EXISTS (SELECT 1 FROM sent) AND parent IS NULL
    AND execution NOT IN (SELECT execution FROM sent WHERE kind = 'start');

-- unasked-4: signals that nobody has sent
SELECT execution, NULL, 'nobody has sent signal ' || signal
FROM (SELECT execution, signal FROM signalled EXCEPT SELECT execution, signal FROM sent WHERE kind = 'signal')
WHERE EXISTS (SELECT 1 FROM sent);

-- outcome-1: started, foretold, and not ended so
SELECT s.execution, NULL, 'message ' || s.id || ' foretells ' || s.status || coalesce(' with ' || s.output, '') || ', it '
    || CASE WHEN e.execution IS NULL THEN 'has not ended'
            ELSE 'has ' || e.status || coalesce(' with ' || e.output, '') END
FROM sent AS s LEFT JOIN ended AS e ON e.execution = s.execution
WHERE s.kind = 'start' AND s.status IS NOT NULL AND s.execution IN (SELECT execution FROM started)
    AND (e.execution IS NULL OR (s.status <> 'any' AND e.status <> s.status)
         OR (s.output IS NOT NULL AND e.output IS NOT s.output));

-- called-1: succeeded without a call
SELECT execution, version, key || ' has succeeded, but the witness was not called'
FROM succeeded WHERE key NOT IN (SELECT key FROM calls);

-- called-2: succeeded without an effect
SELECT execution, version, key || ' has succeeded, but has no effect'
FROM succeeded WHERE key NOT IN (SELECT key FROM effects);

-- called-3: succeeded with another effect than it tells of
SELECT s.execution, s.version, s.key || ' tells of effect ' || s.effect || ', the witness of ' || f.effect
FROM succeeded AS s JOIN effects AS f ON f.key = s.key WHERE s.effect IS NOT NULL AND s.effect <> f.effect;

-- started-1: calls for attempts that are not in the log
SELECT NULL, NULL, 'the witness was called for ' || key || ', attempt ' || attempt || ', which the log does not have'
FROM (SELECT key, attempt FROM calls WHERE attempt > 0 EXCEPT SELECT key, attempt FROM attempts);

-- started-2: calls that do not tell their attempt, for steps that are not in the log
SELECT NULL, NULL, 'the witness was called for ' || key || ', which the log does not have'
FROM (SELECT key FROM calls WHERE attempt = 0 EXCEPT SELECT key FROM attempts);

-- twice-1: an attempt that one life of a daemon has begun twice; it may be begun again in another
SELECT NULL, NULL, 'the witness was called ' || count(*) || ' times for ' || key || ', attempt ' || attempt
    || ', in the life ' || life
FROM calls WHERE attempt > 0 AND life IS NOT NULL GROUP BY key, attempt, life HAVING count(*) > 1;
