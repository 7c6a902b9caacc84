-- What the log says.
CREATE TABLE started (execution BLOB, workflow TEXT, trigger TEXT, key TEXT, parent BLOB);
CREATE TABLE signalled (execution BLOB, signal TEXT);
CREATE TABLE ended (execution BLOB, status TEXT, output TEXT);
CREATE TABLE told (parent BLOB, version INT, address TEXT, attempt INT, child BLOB, status TEXT);
CREATE TABLE attempts (key TEXT, attempt INT, execution BLOB, version INT);
CREATE TABLE succeeded (key TEXT, execution BLOB, version INT, effect INT);
CREATE TABLE implied_rows (execution BLOB, row TEXT);
CREATE TABLE implied_timers (execution BLOB, timer TEXT, due TEXT);
CREATE TABLE implied_leases (execution BLOB);
CREATE TABLE implied_slots (name TEXT, key TEXT, held INT, waiting INT);

-- What the index has.
CREATE TABLE found_rows (execution BLOB, row TEXT);
CREATE TABLE found_timers (execution BLOB, timer TEXT, due TEXT);
CREATE TABLE found_leases (execution BLOB);
CREATE TABLE found_slots (name TEXT, key TEXT, held INT, waiting INT);

-- What was sent, and what lies among the dead letters.
CREATE TABLE sent (
    id TEXT PRIMARY KEY, kind TEXT, execution BLOB, signal TEXT, confirmed INT, status TEXT, output TEXT
);
CREATE TABLE dead (id TEXT);

-- What the witness saw.
CREATE TABLE calls (key TEXT, attempt INT, life TEXT);
CREATE TABLE effects (key TEXT, effect INT);
