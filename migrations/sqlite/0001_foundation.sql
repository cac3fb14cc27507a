-- The deployment: its server name, signing keys, and the counters that nodes draw from.

CREATE TABLE deployment (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE signing_keys (
    key_id TEXT PRIMARY KEY,
    pkcs8 BLOB NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counters (name, value) VALUES ('nid', 1), ('incarnation', 1);

-- The oldest version of the program that may run on this schema.
INSERT INTO deployment (name, value) VALUES ('oldest_version', '0.1.0');

-- The log: one row for each group of appends that was committed together.

CREATE TABLE log_batches (
    last_pos INTEGER PRIMARY KEY,
    prev_pos INTEGER NOT NULL,
    incarnation INTEGER NOT NULL,
    batch_seq INTEGER NOT NULL,
    committed_ms INTEGER NOT NULL,
    touched TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX log_batches_key ON log_batches (incarnation, batch_seq);

-- Rooms and events.

CREATE TABLE rooms (
    nid INTEGER PRIMARY KEY,
    room_id TEXT NOT NULL UNIQUE,
    version TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    extremities TEXT NOT NULL,
    state_root INTEGER NOT NULL,
    state_pos INTEGER NOT NULL,
    head_pos INTEGER NOT NULL,
    joined INTEGER NOT NULL,
    invited INTEGER NOT NULL,
    partial INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE events (
    nid INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    room_nid INTEGER NOT NULL,
    pos INTEGER,
    ord_pos INTEGER,
    ord_depth INTEGER NOT NULL,
    ord_seq INTEGER NOT NULL,
    depth INTEGER NOT NULL,
    sender TEXT NOT NULL,
    type TEXT NOT NULL,
    state_key TEXT,
    origin_ts INTEGER NOT NULL,
    status INTEGER NOT NULL,
    state_before INTEGER,
    state_after INTEGER,
    partial INTEGER NOT NULL DEFAULT 0,
    replaces INTEGER,
    txn_device TEXT,
    txn_id TEXT,
    redacted_by INTEGER,
    revision INTEGER NOT NULL DEFAULT 0,
    json TEXT NOT NULL
) STRICT;
CREATE INDEX events_order ON events (room_nid, ord_pos, ord_depth, ord_seq) WHERE ord_pos IS NOT NULL;
CREATE UNIQUE INDEX events_txn ON events (txn_device, txn_id) WHERE txn_id IS NOT NULL;

CREATE TABLE missing_prev_events (
    prev_event_id TEXT NOT NULL,
    event_nid INTEGER NOT NULL,
    PRIMARY KEY (prev_event_id, event_nid)
) STRICT, WITHOUT ROWID;

CREATE TABLE state_nodes (
    nid INTEGER PRIMARY KEY,
    node BLOB NOT NULL
) STRICT;

CREATE TABLE state_changes (
    room_nid INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    type TEXT NOT NULL,
    state_key TEXT NOT NULL,
    old_nid INTEGER,
    new_nid INTEGER,
    PRIMARY KEY (room_nid, type, state_key, pos)
) STRICT, WITHOUT ROWID;
CREATE INDEX state_changes_pos ON state_changes (room_nid, pos);

CREATE TABLE memberships (
    user_id TEXT NOT NULL,
    room_nid INTEGER NOT NULL,
    membership TEXT NOT NULL,
    event_nid INTEGER NOT NULL,
    sender TEXT NOT NULL,
    pos INTEGER NOT NULL,
    forgotten INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, room_nid)
) STRICT, WITHOUT ROWID;
CREATE INDEX memberships_room ON memberships (room_nid, membership, user_id);

-- Accounts.

CREATE TABLE users (
    user_id TEXT PRIMARY KEY,
    password_hash TEXT,
    admin INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    deactivated INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE profile_fields (
    user_id TEXT NOT NULL,
    field TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (user_id, field)
) STRICT, WITHOUT ROWID;

CREATE TABLE devices (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    display_name TEXT,
    created_ms INTEGER NOT NULL,
    last_seen_ms INTEGER,
    last_seen_address TEXT,
    PRIMARY KEY (user_id, device_id)
) STRICT, WITHOUT ROWID;

-- An access token and the refresh token that was given out with it are one row and end together.
-- `parent_hash` is the token that this one was refreshed from, until this one is first used.
CREATE TABLE access_tokens (
    token_hash TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    refresh_hash TEXT,
    parent_hash TEXT,
    refreshed_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX access_tokens_device ON access_tokens (user_id, device_id);
CREATE UNIQUE INDEX access_tokens_refresh ON access_tokens (refresh_hash)
    WHERE refresh_hash IS NOT NULL;
CREATE INDEX access_tokens_parent ON access_tokens (parent_hash) WHERE parent_hash IS NOT NULL;

CREATE TABLE interactive_auth_sessions (
    session_hash TEXT PRIMARY KEY,
    operation TEXT NOT NULL,
    user_id TEXT,
    body_hash TEXT,
    completed TEXT NOT NULL,
    result TEXT,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX interactive_auth_sessions_created ON interactive_auth_sessions (created_ms);

CREATE TABLE registration_nonces (
    nonce TEXT PRIMARY KEY,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How often something was tried since `window_start_ms`: log-ins that failed, registrations.
CREATE TABLE attempts (
    subject TEXT PRIMARY KEY,
    attempts INTEGER NOT NULL,
    window_start_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_window ON attempts (window_start_ms);

CREATE TABLE filters (
    user_id TEXT NOT NULL,
    filter_id TEXT NOT NULL,
    definition TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (user_id, filter_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE account_data (
    user_id TEXT NOT NULL,
    room_nid INTEGER NOT NULL,
    type TEXT NOT NULL,
    content TEXT NOT NULL,
    pos INTEGER NOT NULL,
    PRIMARY KEY (user_id, room_nid, type)
) STRICT, WITHOUT ROWID;
CREATE INDEX account_data_pos ON account_data (user_id, pos);

-- Read state, aliases, the local room list.

CREATE TABLE receipts (
    room_nid INTEGER NOT NULL,
    type TEXT NOT NULL,
    user_id TEXT NOT NULL,
    thread TEXT NOT NULL,
    event_id TEXT NOT NULL,
    ts INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    PRIMARY KEY (room_nid, type, user_id, thread)
) STRICT, WITHOUT ROWID;
CREATE INDEX receipts_pos ON receipts (room_nid, pos);

CREATE TABLE aliases (
    alias TEXT PRIMARY KEY,
    -- None while the alias is only reserved, for a room that is being made.
    room_nid INTEGER,
    creator TEXT NOT NULL,
    reserved_until_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX aliases_room ON aliases (room_nid);
CREATE INDEX aliases_reserved ON aliases (reserved_until_ms) WHERE reserved_until_ms IS NOT NULL;

CREATE TABLE published_rooms (
    room_nid INTEGER PRIMARY KEY
) STRICT;

-- Nodes.

CREATE TABLE nodes (
    incarnation INTEGER PRIMARY KEY,
    version TEXT NOT NULL,
    started_ms INTEGER NOT NULL,
    heartbeat_ms INTEGER NOT NULL
) STRICT;
