-- The keys that make the values of subjects readable, wrapped by keys that are not in the store. `subject` is a keyed hash
-- of the subject, `name` the subject sealed with its own key. A key that was destroyed leaves its row: who did it, when.
CREATE TABLE subjects (
    key_id text PRIMARY KEY,
    subject text,
    wrapped bytea,
    name bytea,
    created_at timestamptz NOT NULL,
    forgotten_at timestamptz,
    forgotten_by text,
    reason text
);
CREATE UNIQUE INDEX subjects_in_use ON subjects (subject) WHERE forgotten_at IS NULL AND subject IS NOT NULL;
CREATE INDEX subjects_by_subject ON subjects (subject);

-- The executions whose values a key seals.
CREATE TABLE subject_executions (
    execution_id uuid NOT NULL,
    key_id text NOT NULL,
    PRIMARY KEY (execution_id, key_id)
);
CREATE INDEX subject_executions_by_key ON subject_executions (key_id, execution_id);

-- Which keys have encrypted the whole store: their ids, which tell nothing of the keys.
CREATE TABLE at_rest_keys (key_id text PRIMARY KEY, first_used_at timestamptz NOT NULL);

-- Note which executions use which keys. With `checked` all of these must be there: else the whole append fails.
CREATE FUNCTION sagad_use_keys(executions uuid[], keys text[], checked boolean[]) RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
    IF EXISTS (
        SELECT FROM unnest(keys, checked) AS u (key_id, checked) LEFT JOIN subjects s USING (key_id)
        WHERE u.checked AND s.wrapped IS NULL
    ) THEN
        RAISE EXCEPTION 'a key is not there any more' USING ERRCODE = 'SG001';
    END IF;
    INSERT INTO subject_executions (execution_id, key_id) SELECT * FROM unnest(executions, keys)
    ON CONFLICT (execution_id, key_id) DO NOTHING;
END
$$;
