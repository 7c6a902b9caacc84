-- The latest time of all events that a snapshot holds: with it, the state at a time is read from the nearest snapshot
-- before. NULL, in those of older programs: not known.
ALTER TABLE snapshots ADD COLUMN covers_to INTEGER;
