-- The events of a batch, for whoever follows the log.
CREATE INDEX events_pos ON events (pos) WHERE pos IS NOT NULL;

-- Changes of users' devices, one row each: `kind` is 0 for created, 1 for renamed, 2 for removed.
-- `prev_pos` is the same user's change before, so that whoever is sent the changes of a user notices
-- when one is missing. The append that adds a row keeps the newest 100 of its user and deletes the
-- rest.
CREATE TABLE device_changes (
    pos INTEGER PRIMARY KEY,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    kind INTEGER NOT NULL,
    prev_pos INTEGER
) STRICT;
CREATE INDEX device_changes_user ON device_changes (user_id, pos);
