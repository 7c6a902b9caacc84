-- Derived from the log: who holds and who waits for a slot of a limit. See eventstore/slots.py. `rank` is the priority with its
-- sign changed, so that an index has the order of service.
CREATE TABLE slots (
    execution_id uuid NOT NULL,
    address text COLLATE "C" NOT NULL,
    limit_name text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    rank bigint NOT NULL,
    fair text COLLATE "C" NOT NULL,
    round bigint NOT NULL,
    most bigint,
    interval_us bigint,
    burst bigint NOT NULL,
    held boolean NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (execution_id, address, limit_name, key)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX slots_held ON slots (limit_name, key, rank, round) WHERE held;
CREATE INDEX slots_queue ON slots (limit_name, key, rank, round, since, execution_id, address) WHERE NOT held;
CREATE INDEX slots_fair ON slots (limit_name, key, rank, fair, round);

-- Derived from the log: when the next is due by each rate, in microseconds since 1970.
CREATE TABLE rates (
    limit_name text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    next_us bigint NOT NULL,
    PRIMARY KEY (limit_name, key)
) WITH (fillfactor = 50);

-- The round in which one more of this fairness key is served.
CREATE FUNCTION sagad_round(of_limit text, of_key text, of_rank bigint, of_fair text) RETURNS bigint LANGUAGE sql AS
$$
    SELECT greatest(
        coalesce(
            (SELECT max(s.round) FROM slots s WHERE s.limit_name = of_limit AND s.key = of_key AND s.rank = of_rank AND s.held),
            (SELECT min(s.round) FROM slots s
                WHERE s.limit_name = of_limit AND s.key = of_key AND s.rank = of_rank AND NOT s.held),
            0
        ),
        1 + coalesce((
            SELECT max(s.round) FROM slots s
            WHERE s.limit_name = of_limit AND s.key = of_key AND s.rank = of_rank AND s.fair = of_fair
        ), -1)
    )
$$;

-- Change the slots in the order given; with `checked`, return the executions of which a take finds none free. Then all of it
-- must be rolled back. `x` execution, `a` address, `o` what is done, `p` rank, `t` time in microseconds, `f` has not waited,
-- `s` slots: `l` limit, `k` key, `m` most, `i` interval, `b` burst, `r` fairness key.
CREATE FUNCTION sagad_put_slots(changes jsonb, checked boolean) RETURNS uuid[] LANGUAGE plpgsql AS
$$
DECLARE
    change record;
    filled uuid[] := '{}';
BEGIN
    FOR change IN SELECT * FROM jsonb_to_recordset(changes)
        AS c (x uuid, a text, o text, p bigint, t bigint, f boolean, s jsonb)
    LOOP
        CONTINUE WHEN change.x = ANY (filled);
        IF change.o = 'free' THEN
            DELETE FROM slots WHERE execution_id = change.x AND address = change.a;
            CONTINUE;
        END IF;
        IF checked AND change.o = 'take' AND EXISTS (
            SELECT FROM jsonb_to_recordset(change.s) AS s (l text, k text, m bigint, i bigint, b bigint)
            WHERE s.m <= (
                SELECT count(*) FROM slots h WHERE h.limit_name = s.l AND h.key = s.k AND h.held
                    AND NOT (h.execution_id = change.x AND h.address = change.a)
            ) OR change.t < (
                SELECT r.next_us - (s.b - 1) * s.i FROM rates r WHERE r.limit_name = s.l AND r.key = s.k
            ) OR change.f AND EXISTS (
                SELECT FROM slots w WHERE w.limit_name = s.l AND w.key = s.k AND NOT w.held AND w.rank <= change.p
            )
        ) THEN
            filled := filled || change.x;
            CONTINUE;
        END IF;
        INSERT INTO slots (execution_id, address, limit_name, key, rank, fair, round, most, interval_us, burst, held, since)
        SELECT change.x, change.a, s.l, s.k, change.p, s.r, sagad_round(s.l, s.k, change.p, s.r), s.m, s.i, s.b,
            change.o = 'take', timestamptz 'epoch' + change.t * interval '1 microsecond'
        FROM jsonb_to_recordset(change.s) AS s (l text, k text, m bigint, i bigint, b bigint, r text)
        WHERE change.o = 'ask' OR s.m IS NOT NULL
        ON CONFLICT (execution_id, address, limit_name, key) DO UPDATE SET held = excluded.held, since = excluded.since;
        IF change.o = 'take' THEN
            DELETE FROM slots WHERE execution_id = change.x AND address = change.a AND NOT held;
            INSERT INTO rates AS r (limit_name, key, next_us)
            SELECT s.l, s.k, change.t + s.i
            FROM jsonb_to_recordset(change.s) AS s (l text, k text, i bigint) WHERE s.i IS NOT NULL
            ON CONFLICT (limit_name, key)
            DO UPDATE SET next_us = greatest(r.next_us, change.t) + excluded.next_us - change.t;
        END IF;
    END LOOP;
    RETURN nullif(filled, '{}');
END
$$;

-- Append a batch of which some take slots: `sagad_append`, or write nothing and return the executions that found none free.
CREATE FUNCTION sagad_append_slots(
    slot_changes jsonb,
    writers uuid[],
    ids uuid[], after_versions bigint[],
    event_ids uuid[], versions bigint[], topics text[], states bytea[],
    payload_hashes text[], payload_data bytea[],
    kind_workflow text[], kind_definition text[], kind_status text[], kind_cause text[], kind_trigger text[],
    row_id uuid[], row_kind bigint[], row_dedupe_key text[], row_started timestamptz[], row_updated timestamptz[],
    row_finished timestamptz[], row_error text[], latest_trigger text[], latest_key text[],
    change_status text[], change_cause text[],
    changed_id uuid[], changed_kind bigint[], changed_updated timestamptz[], changed_finished timestamptz[],
    changed_error text[],
    cleared_execution uuid[], cleared_timer text[],
    set_execution uuid[], set_timer text[], set_due timestamptz[],
    finished uuid[],
    freed uuid[], leased uuid[], holder uuid[], hinted_at uuid[],
    OUT fenced uuid[], OUT losers uuid[], OUT filled uuid[]
) LANGUAGE plpgsql AS
$$
BEGIN
    PERFORM sagad_lock_log();
    BEGIN
        filled := sagad_put_slots(slot_changes, true);
        IF filled IS NULL THEN
            SELECT a.fenced, a.losers INTO fenced, losers FROM sagad_append(
                writers, ids, after_versions, event_ids, versions, topics, states, payload_hashes, payload_data,
                kind_workflow, kind_definition, kind_status, kind_cause, kind_trigger, row_id, row_kind, row_dedupe_key,
                row_started, row_updated, row_finished, row_error, latest_trigger, latest_key, change_status, change_cause,
                changed_id, changed_kind, changed_updated, changed_finished, changed_error, cleared_execution, cleared_timer,
                set_execution, set_timer, set_due, finished, freed, leased, holder, hinted_at
            ) AS a;
        END IF;
        IF filled IS NOT NULL OR fenced IS NOT NULL OR losers IS NOT NULL THEN
            RAISE EXCEPTION 'refused' USING ERRCODE = 'SG001';
        END IF;
    EXCEPTION WHEN SQLSTATE 'SG001' THEN
        NULL;
    END;
END
$$;
