-- Derived from the log: what people are asked. A row for each approver who may still decide, or was asked in the end,
-- and one with an empty approver for the approval itself.
CREATE TABLE approvals (
    execution_id uuid NOT NULL,
    address text COLLATE "C" NOT NULL,
    approver text NOT NULL,
    question bigint NOT NULL,
    status text NOT NULL,
    workflow text NOT NULL,
    prompt text NOT NULL,
    requested_at timestamptz NOT NULL,
    due_at timestamptz,
    decided_at timestamptz,
    PRIMARY KEY (execution_id, address, approver)
);
CREATE INDEX approvals_by_approver ON approvals (approver, status, requested_at, execution_id, address);

-- Replace the rows of some approvals.
CREATE FUNCTION sagad_put_approvals(
    gone_execution uuid[], gone_address text[],
    row_execution uuid[], row_address text[], row_approver text[], row_question bigint[], row_status text[],
    row_workflow text[], row_prompt text[], row_requested timestamptz[], row_due timestamptz[], row_decided timestamptz[]
) RETURNS void LANGUAGE sql AS
$$
    DELETE FROM approvals a USING unnest(gone_execution, gone_address) AS g (execution_id, address)
    WHERE a.execution_id = g.execution_id AND a.address = g.address;
    INSERT INTO approvals (execution_id, address, approver, question, status, workflow, prompt, requested_at, due_at,
        decided_at)
    SELECT * FROM unnest(row_execution, row_address, row_approver, row_question, row_status, row_workflow, row_prompt,
        row_requested, row_due, row_decided);
$$;
