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

-- What only one node may do at a time. A lease ends at `expires_ms` by the database's clock (zero: it
-- was given back). Whoever takes it next gets a larger `fence`, and what is written under an older
-- one is refused. `holder` is the run of a node, as in `nodes`.
CREATE TABLE leases (
    name TEXT NOT NULL,
    -- Tells apart the shares of work that is divided; zero where it is not.
    partition INTEGER NOT NULL,
    holder INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    PRIMARY KEY (name, partition)
) STRICT, WITHOUT ROWID;

-- Work that outlives the request that asked for it, and the node that began it. The node that runs a
-- job holds the lease `job` whose partition is the job's `id`.
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    parameters TEXT NOT NULL,
    -- Who asked for it.
    actor TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    -- `waiting`, `running`, `done`, `failed` or `cancelled`.
    state TEXT NOT NULL,
    -- Where its next step goes on, as the last one said.
    cursor TEXT,
    -- How much of it is done, of how much, and what that means.
    done INTEGER NOT NULL DEFAULT 0,
    total INTEGER NOT NULL DEFAULT 0,
    progress TEXT NOT NULL DEFAULT '',
    -- How often it was begun since `done` last grew.
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_ms INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    finished_ms INTEGER,
    -- Why the last attempt failed.
    error TEXT
) STRICT;
CREATE INDEX jobs_unfinished ON jobs (kind, actor) WHERE finished_ms IS NULL;
CREATE INDEX jobs_finished ON jobs (finished_ms) WHERE finished_ms IS NOT NULL;

-- The users whose events are shown redacted to whoever joined the room after they were erased, and
-- was not in it when they were sent.
CREATE TABLE erased_users (
    user_id TEXT PRIMARY KEY,
    erased_ms INTEGER NOT NULL,
    -- The end of the log at that time.
    erased_pos INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The members that a room without a name is called by: those who came first.
CREATE INDEX memberships_first ON memberships (room_nid, membership, pos, user_id);

-- Sessions. Each has one access token, or two from when it is refreshed until the new one is first
-- used.

CREATE TABLE sessions (
    session_id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    -- None for a session that belongs to no device.
    device_id TEXT,
    -- How it was begun, as `SessionOrigin` names it.
    origin TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    -- When the session ends by itself, however often it is refreshed; none where it does not.
    expires_ms INTEGER,
    -- When it was ended for good, where its device stays until its user logs in there again.
    ended_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_device ON sessions (user_id, device_id);

ALTER TABLE access_tokens ADD COLUMN session_id TEXT NOT NULL DEFAULT '';
-- How often the session had been refreshed when the token was given out.
ALTER TABLE access_tokens ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;

-- A token whose parent is gone was refused already.
DELETE FROM access_tokens WHERE parent_hash IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM access_tokens p WHERE p.token_hash = access_tokens.parent_hash);
-- A token that has a parent was never used, and so nothing was refreshed from it.
UPDATE access_tokens SET session_id = coalesce(parent_hash, token_hash),
    generation = CASE WHEN parent_hash IS NULL THEN 0 ELSE 1 END;
INSERT INTO sessions (session_id, user_id, device_id, origin, created_ms)
SELECT token_hash, user_id, device_id, 'password', created_ms FROM access_tokens
WHERE parent_hash IS NULL;
CREATE INDEX access_tokens_session ON access_tokens (session_id);

-- A server of 0.1 that is started again on this database knows nothing of sessions: a token that it
-- inserts begins one, or goes on with that of its parent.
CREATE TRIGGER access_tokens_session AFTER INSERT ON access_tokens
WHEN NEW.session_id = '' AND NOT EXISTS (SELECT 1 FROM sessions WHERE session_id = '')
BEGIN
    INSERT INTO sessions (session_id, user_id, device_id, origin, created_ms)
    SELECT NEW.token_hash, NEW.user_id, NEW.device_id, 'password', NEW.created_ms
    WHERE NOT EXISTS (SELECT 1 FROM access_tokens p WHERE p.token_hash = NEW.parent_hash);
    UPDATE access_tokens SET
        session_id = coalesce((SELECT p.session_id FROM access_tokens p
            WHERE p.token_hash = NEW.parent_hash), NEW.token_hash),
        generation = coalesce((SELECT p.generation + 1 FROM access_tokens p
            WHERE p.token_hash = NEW.parent_hash), 0)
    WHERE token_hash = NEW.token_hash;
END;

-- The refresh tokens that a session has replaced. Whoever presents one has copied it.
CREATE TABLE spent_refresh_tokens (
    session_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    refresh_hash TEXT NOT NULL UNIQUE,
    PRIMARY KEY (session_id, generation)
) STRICT, WITHOUT ROWID;

-- What was done by whom. `entry` is JSON, and the text over which the chain is computed.
CREATE TABLE audit_log (
    -- The last position of the batch that made the change.
    pos INTEGER NOT NULL,
    -- The order among the entries of that batch.
    n INTEGER NOT NULL,
    entry TEXT NOT NULL,
    PRIMARY KEY (pos, n)
) STRICT, WITHOUT ROWID;

-- One link for each batch with entries: the SHA-256, in hexadecimal digits, of the previous link
-- (64 zeros where there is none), the position, and the SHA-256 of each entry, between spaces.
CREATE TABLE audit_chain (
    pos INTEGER PRIMARY KEY,
    link TEXT NOT NULL
) STRICT;
