-- Derived from the log: who holds and who waits for a slot of a limit. See eventstore/slots.py. `rank` is the priority with its
-- sign changed, so that an index has the order of service.
CREATE TABLE slots (
    execution_id TEXT NOT NULL,
    address TEXT NOT NULL,
    limit_name TEXT NOT NULL,
    key TEXT NOT NULL,
    rank INTEGER NOT NULL,
    fair TEXT NOT NULL,
    round INTEGER NOT NULL,
    most INTEGER,
    interval_us INTEGER,
    burst INTEGER NOT NULL,
    held INTEGER NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (execution_id, address, limit_name, key)
) WITHOUT ROWID;
CREATE INDEX slots_held ON slots (limit_name, key, rank, round) WHERE held;
CREATE INDEX slots_queue ON slots (limit_name, key, rank, round, since, execution_id, address) WHERE NOT held;
CREATE INDEX slots_fair ON slots (limit_name, key, rank, fair, round);

-- Derived from the log: when the next is due by each rate.
CREATE TABLE rates (
    limit_name TEXT NOT NULL,
    key TEXT NOT NULL,
    next_us INTEGER NOT NULL,
    PRIMARY KEY (limit_name, key)
) WITHOUT ROWID;
