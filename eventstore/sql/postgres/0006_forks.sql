-- Derived from the log: which executions go on from the past of another.
CREATE TABLE forks (
    execution_id uuid PRIMARY KEY,
    source uuid NOT NULL,
    at_version bigint NOT NULL,
    forked_at timestamptz NOT NULL
);
CREATE INDEX forks_by_source ON forks (source, forked_at, execution_id);
