-- For readers that follow the log and look for the events of a batch.
CREATE INDEX events_pos ON events (pos) WHERE pos IS NOT NULL;

-- Changes to users' devices, one row each: `kind` is 0 for created, 1 for renamed, 2 for removed.
-- `prev_pos` is the position of the same user's previous change, so that a reader of the user's
-- changes notices if one is missing. The append that adds a row keeps the user's newest 100 and
-- deletes the rest.
CREATE TABLE device_changes (
    pos INTEGER PRIMARY KEY,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    kind INTEGER NOT NULL,
    prev_pos INTEGER
) STRICT;
CREATE INDEX device_changes_user ON device_changes (user_id, pos);

-- Distinguishes a device from an earlier one of its user with the same ID, so that it does not get
-- the answers to that one's transactions. Zero for devices created before this column.
ALTER TABLE devices ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;

-- A nonce of registration with the shared secret is now stored only once it is used, and a session
-- of interactive authentication only once a stage is completed. `requester` is the user or network
-- that completed it; the number of sessions is limited for each.
ALTER TABLE interactive_auth_sessions ADD COLUMN requester TEXT NOT NULL DEFAULT '';
CREATE INDEX interactive_auth_sessions_requester ON interactive_auth_sessions (requester, created_ms);

-- Leases, which let one node at a time do something. A lease ends at `expires_ms` by the database's
-- clock (zero if it was released). The next holder gets a larger `fence`, and writes under an older
-- one are refused. `holder` is the run of a node, as in `nodes`.
CREATE TABLE leases (
    name TEXT NOT NULL,
    -- The partition, if the work is divided; otherwise zero.
    partition INTEGER NOT NULL,
    holder INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    PRIMARY KEY (name, partition)
) STRICT, WITHOUT ROWID;

-- Jobs: work that outlives the request that asked for it and the node that began it. The node that
-- runs a job holds the lease `job` whose partition is the job's `id`.
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    parameters TEXT NOT NULL,
    -- The user who asked for it.
    actor TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    -- `waiting`, `running`, `done`, `failed` or `cancelled`.
    state TEXT NOT NULL,
    -- Where the next step continues, as returned by the last one.
    cursor TEXT,
    -- How much is done, out of how much, and a text that explains it.
    done INTEGER NOT NULL DEFAULT 0,
    total INTEGER NOT NULL DEFAULT 0,
    progress TEXT NOT NULL DEFAULT '',
    -- How many times it has begun since `done` last grew.
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_ms INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    finished_ms INTEGER,
    -- Why the last attempt failed.
    error TEXT
) STRICT;
CREATE INDEX jobs_unfinished ON jobs (kind, actor) WHERE finished_ms IS NULL;
CREATE INDEX jobs_finished ON jobs (finished_ms) WHERE finished_ms IS NOT NULL;

-- Erased users. Their events are shown redacted to users who joined the room after the erasure and
-- were not in it when the events were sent.
CREATE TABLE erased_users (
    user_id TEXT PRIMARY KEY,
    erased_ms INTEGER NOT NULL,
    -- The end of the log when the user was erased.
    erased_pos INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- For naming a room without a name after its first members.
CREATE INDEX memberships_first ON memberships (room_nid, membership, pos, user_id);

-- Sessions. Each has one access token, or two from the moment it is refreshed until the new one is
-- first used.

CREATE TABLE sessions (
    session_id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    -- NULL for a session without a device.
    device_id TEXT,
    -- How it began, as `SessionOrigin` names it.
    origin TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    -- When the session ends by itself, no matter how often it is refreshed; NULL if it does not.
    expires_ms INTEGER,
    -- When it was ended for good, if its device stays until its user logs in there again.
    ended_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_device ON sessions (user_id, device_id);

ALTER TABLE access_tokens ADD COLUMN session_id TEXT NOT NULL DEFAULT '';
-- How often the session had been refreshed when the token was issued.
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
-- inserts begins a session, or continues that of its parent.
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

-- The refresh tokens that a session has replaced. Only a copied token can be presented again.
CREATE TABLE spent_refresh_tokens (
    session_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    refresh_hash TEXT NOT NULL UNIQUE,
    PRIMARY KEY (session_id, generation)
) STRICT, WITHOUT ROWID;

-- The audit log: who did what. `entry` is JSON, and the chain is computed over its text.
CREATE TABLE audit_log (
    -- The last position of the batch that made the change.
    pos INTEGER NOT NULL,
    -- The order among the entries of that batch.
    n INTEGER NOT NULL,
    entry TEXT NOT NULL,
    PRIMARY KEY (pos, n)
) STRICT, WITHOUT ROWID;

-- One link for each batch with entries: the SHA-256, in hexadecimal, of the previous link (64 zeros
-- for the first), the position, and the SHA-256 of each entry, separated by spaces.
CREATE TABLE audit_chain (
    pos INTEGER PRIMARY KEY,
    link TEXT NOT NULL
) STRICT;
