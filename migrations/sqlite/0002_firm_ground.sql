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

-- Tells a device from an earlier one of its user with the same ID, so that it does not get the
-- answers to that one's transactions. Zero for devices from before this column.
ALTER TABLE devices ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;

-- A nonce of the registration by shared secret is a row only once it is used, and a session of
-- interactive authentication only once a stage is completed. `requester` is the user or network
-- that completed it: each may have so many.
ALTER TABLE interactive_auth_sessions ADD COLUMN requester TEXT NOT NULL DEFAULT '';
CREATE INDEX interactive_auth_sessions_requester ON interactive_auth_sessions (requester, created_ms);
