-- Results of steps for other steps: a row is a result, or the claim of whoever makes one. Losing it loses only time.
CREATE TABLE results (
    cache text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    workflow text COLLATE "C" NOT NULL,
    claimed_by uuid,
    value bytea,
    execution_id uuid,
    address text COLLATE "C",
    stored_at timestamptz,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (cache, key)
);
CREATE INDEX results_by_end ON results (expires_at);

-- The newest run of each stream that a step has given.
CREATE TABLE streams (
    execution_id uuid NOT NULL,
    address text COLLATE "C" NOT NULL,
    run bigint NOT NULL,
    attempt bigint NOT NULL,
    chunks bigint NOT NULL,
    bytes bigint NOT NULL,
    began_at timestamptz NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (execution_id, address)
) WITH (fillfactor = 70);
CREATE INDEX streams_by_end ON streams (ended_at) WHERE ended_at IS NOT NULL;

-- Its chunks, many in a row: chunk `first` to chunk `last`.
CREATE TABLE chunks (
    execution_id uuid NOT NULL,
    address text COLLATE "C" NOT NULL,
    run bigint NOT NULL,
    last bigint NOT NULL,
    first bigint NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (execution_id, address, run, last)
);
