-- Derived from the log: what people are asked. A row for each approver who may still decide, or was asked in the end,
-- and one with an empty approver for the approval itself.
CREATE TABLE approvals (
    execution_id TEXT NOT NULL,
    address TEXT NOT NULL,
    approver TEXT NOT NULL,
    question INTEGER NOT NULL,
    status TEXT NOT NULL,
    workflow TEXT NOT NULL,
    prompt TEXT NOT NULL,
    requested_at INTEGER NOT NULL,
    due_at INTEGER,
    decided_at INTEGER,
    PRIMARY KEY (execution_id, address, approver)
) WITHOUT ROWID;
CREATE INDEX approvals_by_approver ON approvals (approver, status, requested_at, execution_id, address);
