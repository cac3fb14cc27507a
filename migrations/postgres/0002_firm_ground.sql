-- The call that appends to the log now calls one function for each table. A table that is added
-- later brings its own function, and its migration replaces `append_tables`.
--
-- Each function inserts the rows of one table of a batch. `rows` is the JSON array; positions in it
-- are relative to `head`, the log's head before the batch.

CREATE FUNCTION append_rooms(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    written BIGINT;
BEGIN
    INSERT INTO rooms (nid, room_id, version, created_ms, extremities, state_root,
        state_pos, head_pos, joined, invited)
    SELECT r.nid, r.room_id, r.version, r.created_ms, '[]', 0, 0, 0, 0, 0
    FROM jsonb_to_recordset(rows)
        AS r(nid BIGINT, room_id TEXT, version TEXT, created_ms BIGINT)
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS written = ROW_COUNT;
    IF written <> jsonb_array_length(rows) THEN
        RAISE EXCEPTION SQLSTATE 'STOA1';
    END IF;
END
$$;

CREATE FUNCTION append_events(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    written BIGINT;
BEGIN
    INSERT INTO events (nid, event_id, room_nid, pos, ord_pos, ord_depth, ord_seq, depth,
        sender, type, state_key, origin_ts, status, state_before, state_after, partial,
        replaces, txn_device, txn_id, json)
    SELECT e.nid, e.event_id, e.room_nid, head + e.pos, coalesce(head + e.pos, e.ord_pos),
        e.ord_depth, e.ord_seq, e.depth, e.sender, e.type, e.state_key, e.origin_ts,
        e.status, e.state_before, e.state_after, e.partial, e.replaces, e.txn_device,
        e.txn_id, e.json
    FROM jsonb_to_recordset(rows) AS e(nid BIGINT, event_id TEXT,
        room_nid BIGINT, pos BIGINT, ord_pos BIGINT, ord_depth BIGINT, ord_seq BIGINT,
        depth BIGINT, sender TEXT, type TEXT, state_key TEXT, origin_ts BIGINT,
        status BIGINT, state_before BIGINT, state_after BIGINT, partial BIGINT,
        replaces BIGINT, txn_device TEXT, txn_id TEXT, json TEXT)
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS written = ROW_COUNT;
    IF written <> jsonb_array_length(rows) THEN
        RAISE EXCEPTION SQLSTATE 'STOA1';
    END IF;
END
$$;

CREATE FUNCTION append_room_updates(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    UPDATE rooms SET
        extremities = (
            SELECT coalesce(jsonb_agg(x ORDER BY x), '[]')
            FROM (
                SELECT jsonb_array_elements(rooms.extremities::jsonb)
                UNION
                SELECT jsonb_array_elements(u.added)
            ) AS both_sides(x)
            WHERE NOT u.consumed @> x
        )::text,
        state_root = coalesce(u.state_root, rooms.state_root),
        state_pos = coalesce(head + u.state_pos, rooms.state_pos),
        head_pos = coalesce(head + u.head_pos, rooms.head_pos),
        joined = rooms.joined + u.joined,
        invited = rooms.invited + u.invited
    FROM jsonb_to_recordset(rows) AS u(room_nid BIGINT, added JSONB,
        consumed JSONB, state_root BIGINT, state_pos BIGINT, head_pos BIGINT, joined BIGINT,
        invited BIGINT)
    WHERE rooms.nid = u.room_nid;
END
$$;

CREATE FUNCTION append_event_updates(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    UPDATE events SET
        pos = coalesce(head + u.pos, events.pos),
        ord_pos = coalesce(head + u.pos, u.ord_pos, events.ord_pos),
        ord_depth = coalesce(u.ord_depth, events.ord_depth),
        ord_seq = coalesce(u.ord_seq, events.ord_seq),
        status = coalesce(u.status, events.status),
        state_before = coalesce(u.state_before, events.state_before),
        state_after = coalesce(u.state_after, events.state_after),
        partial = coalesce(u.partial, events.partial)
    FROM jsonb_to_recordset(rows) AS u(nid BIGINT, pos BIGINT,
        ord_pos BIGINT, ord_depth BIGINT, ord_seq BIGINT, status BIGINT, state_before BIGINT,
        state_after BIGINT, partial BIGINT)
    WHERE events.nid = u.nid;
END
$$;

CREATE FUNCTION append_redactions(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    UPDATE events SET json = u.json, redacted_by = u.redacted_by, revision = revision + 1
    FROM jsonb_to_recordset(rows)
        AS u(nid BIGINT, redacted_by BIGINT, json TEXT)
    WHERE events.nid = u.nid;
END
$$;

CREATE FUNCTION append_missing_prev_events(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO missing_prev_events (prev_event_id, event_nid)
    SELECT m.prev_event_id, m.event_nid
    FROM jsonb_to_recordset(rows)
        AS m(prev_event_id TEXT, event_nid BIGINT)
    ON CONFLICT DO NOTHING;
END
$$;

CREATE FUNCTION append_state_nodes(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO state_nodes (nid, node)
    SELECT s.nid, decode(s.node, 'hex')
    FROM jsonb_to_recordset(rows) AS s(nid BIGINT, node TEXT);
END
$$;

CREATE FUNCTION append_state_changes(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO state_changes (room_nid, pos, type, state_key, old_nid, new_nid)
    SELECT s.room_nid, head + s.pos, s.type, s.state_key, s.old_nid, s.new_nid
    FROM jsonb_to_recordset(rows) AS s(room_nid BIGINT, pos BIGINT,
        type TEXT, state_key TEXT, old_nid BIGINT, new_nid BIGINT);
END
$$;

CREATE FUNCTION append_memberships(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO memberships (user_id, room_nid, membership, event_nid, sender, pos)
    SELECT m.user_id, m.room_nid, m.membership, m.event_nid, m.sender, head + m.pos
    FROM jsonb_to_recordset(rows) AS m(user_id TEXT, room_nid BIGINT,
        membership TEXT, event_nid BIGINT, sender TEXT, pos BIGINT)
    ON CONFLICT (user_id, room_nid) DO UPDATE SET membership = excluded.membership,
        event_nid = excluded.event_nid, sender = excluded.sender, pos = excluded.pos,
        forgotten = 0;
END
$$;

CREATE FUNCTION append_forgotten_rooms(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    UPDATE memberships SET forgotten = 1
    FROM jsonb_to_recordset(rows) AS f(user_id TEXT, room_nid BIGINT)
    WHERE memberships.user_id = f.user_id AND memberships.room_nid = f.room_nid
        AND memberships.membership IN ('leave', 'ban');
END
$$;

CREATE FUNCTION append_account_data(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO account_data (user_id, room_nid, type, content, pos)
    SELECT a.user_id, a.room_nid, a.type, a.content, head + a.pos
    FROM jsonb_to_recordset(rows) AS a(user_id TEXT, room_nid BIGINT,
        type TEXT, content TEXT, pos BIGINT)
    ON CONFLICT (user_id, room_nid, type)
    DO UPDATE SET content = excluded.content, pos = excluded.pos;
END
$$;

CREATE FUNCTION append_receipts(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO receipts (room_nid, type, user_id, thread, event_id, ts, pos)
    SELECT r.room_nid, r.type, r.user_id, r.thread, r.event_id, r.ts, head + r.pos
    FROM jsonb_to_recordset(rows) AS r(room_nid BIGINT, type TEXT, user_id TEXT,
        thread TEXT, event_id TEXT, ts BIGINT, pos BIGINT)
    ON CONFLICT (room_nid, type, user_id, thread)
    DO UPDATE SET event_id = excluded.event_id, ts = excluded.ts, pos = excluded.pos
    WHERE coalesce((
        SELECT (n.ord_pos, n.ord_depth, n.ord_seq) > (o.ord_pos, o.ord_depth, o.ord_seq)
        FROM events n, events o
        WHERE n.event_id = excluded.event_id AND o.event_id = receipts.event_id), true);
END
$$;

-- Ends sessions, with all that belongs to them.

CREATE FUNCTION end_sessions(ended TEXT[]) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    DELETE FROM spent_refresh_tokens WHERE session_id = ANY (ended);
    DELETE FROM access_tokens WHERE session_id = ANY (ended);
    DELETE FROM sessions WHERE session_id = ANY (ended);
END
$$;

-- Interactive authentication by the old password no longer counts.

CREATE FUNCTION append_account_updates(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    UPDATE users SET
        password_hash = coalesce(u.password_hash, users.password_hash),
        admin = coalesce(u.admin, users.admin),
        deactivated = coalesce(u.deactivated, users.deactivated)
    FROM jsonb_to_recordset(rows)
        AS u(user_id TEXT, password_hash TEXT, admin BIGINT, deactivated BIGINT)
    WHERE users.user_id = u.user_id;
    DELETE FROM interactive_auth_sessions s
    USING jsonb_to_recordset(rows) AS u(user_id TEXT, password_hash TEXT, deactivated BIGINT)
    WHERE s.requester = u.user_id AND (u.password_hash IS NOT NULL OR u.deactivated = 1);
END
$$;

CREATE FUNCTION append_all_device_removals(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM end_sessions(ARRAY(
        SELECT s.session_id
        FROM jsonb_to_recordset(rows) AS d(user_id TEXT, except_device TEXT)
        JOIN sessions s ON s.user_id = d.user_id
        WHERE d.except_device IS NULL OR s.device_id IS DISTINCT FROM d.except_device));
    DELETE FROM devices t
    USING jsonb_to_recordset(rows) AS d(user_id TEXT, except_device TEXT)
    WHERE t.user_id = d.user_id AND t.device_id IS DISTINCT FROM d.except_device;
END
$$;

CREATE FUNCTION append_device_removals(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM end_sessions(ARRAY(
        SELECT s.session_id
        FROM jsonb_to_recordset(rows) AS d(user_id TEXT, device_id TEXT)
        JOIN sessions s ON s.user_id = d.user_id AND s.device_id = d.device_id));
    DELETE FROM devices t
    USING jsonb_to_recordset(rows) AS d(user_id TEXT, device_id TEXT)
    WHERE t.user_id = d.user_id AND t.device_id = d.device_id;
END
$$;

-- A session that ends while its device stays loses its tokens. Its row stays, to remember that it
-- existed.

CREATE FUNCTION append_session_ends(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    UPDATE sessions SET ended_ms = e.ended_ms
    FROM jsonb_to_recordset(rows) AS e(session_id TEXT, ended_ms BIGINT)
    WHERE sessions.session_id = e.session_id;
    DELETE FROM access_tokens t
    USING jsonb_to_recordset(rows) AS e(session_id TEXT)
    WHERE t.session_id = e.session_id;
END
$$;

-- A token whose successor has been used is deleted, with everything else that was refreshed from
-- it. Its refresh token is remembered as spent, among the last thousand of each session. Nodes of
-- 0.1 name no successor if the token ends for another reason.

CREATE FUNCTION append_token_removals(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    UPDATE access_tokens SET parent_hash = NULL
    FROM jsonb_to_recordset(rows) AS d(successor TEXT)
    WHERE access_tokens.token_hash = d.successor;
    WITH removed AS (
        DELETE FROM access_tokens t
        USING jsonb_to_recordset(rows) AS d(token_hash TEXT, successor TEXT)
        WHERE t.token_hash = d.token_hash AND (d.successor IS NULL
            OR EXISTS (SELECT FROM access_tokens s WHERE s.token_hash = d.successor))
        RETURNING t.session_id, t.generation, t.refresh_hash
    )
    INSERT INTO spent_refresh_tokens (session_id, generation, refresh_hash)
    SELECT session_id, generation, refresh_hash FROM removed WHERE refresh_hash IS NOT NULL
    ON CONFLICT DO NOTHING;
    DELETE FROM spent_refresh_tokens o
    USING jsonb_to_recordset(rows) AS d(successor TEXT)
    JOIN access_tokens s ON s.token_hash = d.successor
    WHERE o.session_id = s.session_id AND o.generation < s.generation - 1000;
    DELETE FROM access_tokens t
    USING jsonb_to_recordset(rows) AS d(token_hash TEXT)
    WHERE t.parent_hash = d.token_hash
        AND NOT EXISTS (SELECT FROM access_tokens p WHERE p.token_hash = d.token_hash);
END
$$;

CREATE FUNCTION append_users(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO users (user_id, password_hash, admin, created_ms)
    SELECT u.user_id, u.password_hash, u.admin, u.created_ms
    FROM jsonb_to_recordset(rows)
        AS u(user_id TEXT, password_hash TEXT, admin BIGINT, created_ms BIGINT);
END
$$;

CREATE FUNCTION append_profile_fields(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO profile_fields (user_id, field, value)
    SELECT p.user_id, p.field, p.value
    FROM jsonb_to_recordset(rows) AS p(user_id TEXT, field TEXT, value TEXT)
    ON CONFLICT (user_id, field) DO UPDATE SET value = excluded.value;
END
$$;

CREATE FUNCTION append_interactive_results(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    UPDATE interactive_auth_sessions SET result = r.result
    FROM jsonb_to_recordset(rows) AS r(session_hash TEXT, result TEXT)
    WHERE interactive_auth_sessions.session_hash = r.session_hash;
END
$$;

CREATE FUNCTION append_devices(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO devices (user_id, device_id, display_name, created_ms, generation)
    SELECT d.user_id, d.device_id, d.display_name, d.created_ms, head + 1
    FROM jsonb_to_recordset(rows)
        AS d(user_id TEXT, device_id TEXT, display_name TEXT, created_ms BIGINT)
    ON CONFLICT DO NOTHING;
END
$$;

-- A new session replaces the earlier sessions of its device.

CREATE FUNCTION append_sessions(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM end_sessions(ARRAY(
        SELECT s.session_id
        FROM jsonb_to_recordset(rows) AS n(user_id TEXT, device_id TEXT)
        JOIN sessions s ON s.user_id = n.user_id AND s.device_id = n.device_id));
    INSERT INTO sessions (session_id, user_id, device_id, origin, created_ms, expires_ms)
    SELECT n.session_id, n.user_id, n.device_id, n.origin, n.created_ms, n.expires_ms
    FROM jsonb_to_recordset(rows) AS n(session_id TEXT, user_id TEXT, device_id TEXT,
        origin TEXT, created_ms BIGINT, expires_ms BIGINT);
END
$$;

-- A refreshed token replaces those that were refreshed from the same parent before, none of which
-- was ever used.

CREATE FUNCTION append_tokens(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    DELETE FROM access_tokens t
    USING jsonb_to_recordset(rows) AS n(parent_hash TEXT)
    WHERE t.parent_hash = n.parent_hash;
    INSERT INTO access_tokens (token_hash, session_id, generation, user_id, device_id, created_ms,
        expires_ms, refresh_hash, parent_hash)
    SELECT n.token_hash, n.session_id, n.generation, s.user_id, coalesce(s.device_id, ''),
        n.created_ms, n.expires_ms, n.refresh_hash, n.parent_hash
    FROM jsonb_to_recordset(rows) AS n(token_hash TEXT, session_id TEXT, generation BIGINT,
        created_ms BIGINT, expires_ms BIGINT, refresh_hash TEXT, parent_hash TEXT)
    JOIN sessions s ON s.session_id = n.session_id;
END
$$;

-- Inserts the audit entries of a batch, an array of texts, and the link of the chain over them.
-- `last` is the batch's last position. `log::audit::link` in the program computes the same link.

CREATE FUNCTION append_audit(entries JSONB, last BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    previous TEXT;
    digests TEXT;
BEGIN
    INSERT INTO audit_log (pos, n, entry)
    SELECT last, e.n - 1, e.entry
    FROM jsonb_array_elements_text(entries) WITH ORDINALITY AS e(entry, n);
    SELECT string_agg(encode(sha256(convert_to(e.entry, 'UTF8')), 'hex'), ' ' ORDER BY e.n)
    INTO digests
    FROM jsonb_array_elements_text(entries) WITH ORDINALITY AS e(entry, n);
    SELECT link INTO previous FROM audit_chain ORDER BY pos DESC LIMIT 1;
    INSERT INTO audit_chain (pos, link) VALUES (last, encode(sha256(convert_to(
        coalesce(previous, repeat('0', 64)) || ' ' || last || ' ' || digests, 'UTF8')), 'hex'));
END
$$;

-- Whether the log has lost the batch `seq` of the run `run`, which ended at `pos`: it no longer
-- exists, or another one is there. If it was only pruned, a later batch of its run still exists
-- above it. Batches that belong to no run, whose run numbers are zero or less, are never pruned.

CREATE FUNCTION log_has_lost(pos BIGINT, run BIGINT, seq BIGINT) RETURNS BOOLEAN
LANGUAGE plpgsql VOLATILE STRICT
AS $$
DECLARE
    found_run BIGINT;
    found_seq BIGINT;
BEGIN
    SELECT incarnation, batch_seq INTO found_run, found_seq FROM log_batches WHERE last_pos = pos;
    IF FOUND THEN
        RETURN found_run <> run OR found_seq <> seq;
    END IF;
    RETURN run <= 0 OR NOT EXISTS (SELECT FROM log_batches
        WHERE incarnation = run AND batch_seq > seq AND last_pos > pos);
END
$$;

-- For readers that follow the log and look for the events of a batch.
CREATE INDEX events_pos ON events (pos) WHERE pos IS NOT NULL;

-- Changes to users' devices, one row each: `kind` is 0 for created, 1 for renamed, 2 for removed.
-- `prev_pos` is the position of the same user's previous change, so that a reader of the user's
-- changes notices if one is missing. The append that adds a row keeps the user's newest 100 and
-- deletes the rest.
CREATE TABLE device_changes (
    pos BIGINT PRIMARY KEY,
    user_id TEXT COLLATE "C" NOT NULL,
    device_id TEXT COLLATE "C" NOT NULL,
    kind BIGINT NOT NULL,
    prev_pos BIGINT
);
CREATE INDEX device_changes_user ON device_changes (user_id, pos);

CREATE FUNCTION append_device_changes(rows JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO device_changes (pos, user_id, device_id, kind, prev_pos)
    SELECT head + d.pos, d.user_id, d.device_id, d.kind, coalesce(
        head + lag(d.pos) OVER (PARTITION BY d.user_id ORDER BY d.pos),
        (SELECT max(c.pos) FROM device_changes c WHERE c.user_id = d.user_id))
    FROM jsonb_to_recordset(rows)
        AS d(pos BIGINT, user_id TEXT, device_id TEXT, kind BIGINT);
    DELETE FROM device_changes WHERE pos IN (
        SELECT aged.pos FROM (
            SELECT c.pos, row_number() OVER (PARTITION BY c.user_id ORDER BY c.pos DESC) AS age
            FROM device_changes c
            WHERE c.user_id IN (SELECT d.user_id FROM jsonb_to_recordset(rows) AS d(user_id TEXT))
        ) AS aged WHERE aged.age > 100);
END
$$;

-- Distinguishes a device from an earlier one of its user with the same ID, so that it does not get
-- the answers to that one's transactions. Zero for devices created before this column.
ALTER TABLE devices ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;

-- A nonce of registration with the shared secret is now stored only once it is used, and a session
-- of interactive authentication only once a stage is completed. `requester` is the user or network
-- that completed it; the number of sessions is limited for each.
ALTER TABLE interactive_auth_sessions ADD COLUMN requester TEXT COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX interactive_auth_sessions_requester ON interactive_auth_sessions (requester, created_ms);

-- Leases, which let one node at a time do something. A lease ends at `expires_ms` by the database's
-- clock (zero if it was released). The next holder gets a larger `fence`, and writes under an older
-- one are refused. `holder` is the run of a node, as in `nodes`.
CREATE TABLE leases (
    name TEXT NOT NULL,
    -- The partition, if the work is divided; otherwise zero.
    partition BIGINT NOT NULL,
    holder BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    PRIMARY KEY (name, partition)
);

-- Jobs: work that outlives the request that asked for it and the node that began it. The node that
-- runs a job holds the lease `job` whose partition is the job's `id`.
CREATE TABLE jobs (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind TEXT NOT NULL,
    parameters TEXT NOT NULL,
    -- The user who asked for it.
    actor TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    -- `waiting`, `running`, `done`, `failed` or `cancelled`.
    state TEXT NOT NULL,
    -- Where the next step continues, as returned by the last one.
    cursor TEXT,
    -- How much is done, out of how much, and a text that explains it.
    done BIGINT NOT NULL DEFAULT 0,
    total BIGINT NOT NULL DEFAULT 0,
    progress TEXT NOT NULL DEFAULT '',
    -- How many times it has begun since `done` last grew.
    attempts BIGINT NOT NULL DEFAULT 0,
    next_attempt_ms BIGINT NOT NULL,
    cancel_requested BIGINT NOT NULL DEFAULT 0,
    finished_ms BIGINT,
    -- Why the last attempt failed.
    error TEXT
);
CREATE INDEX jobs_unfinished ON jobs (kind, actor) WHERE finished_ms IS NULL;
CREATE INDEX jobs_finished ON jobs (finished_ms) WHERE finished_ms IS NOT NULL;

-- Erased users. Their events are shown redacted to users who joined the room after the erasure and
-- were not in it when the events were sent.
CREATE TABLE erased_users (
    user_id TEXT PRIMARY KEY,
    erased_ms BIGINT NOT NULL,
    -- The end of the log when the user was erased.
    erased_pos BIGINT NOT NULL
);

-- For naming a room without a name after its first members.
CREATE INDEX memberships_first ON memberships (room_nid, membership, pos, user_id);

-- Sessions. Each has one access token, or two from the moment it is refreshed until the new one is
-- first used.

CREATE TABLE sessions (
    session_id TEXT COLLATE "C" PRIMARY KEY,
    user_id TEXT COLLATE "C" NOT NULL,
    -- NULL for a session without a device.
    device_id TEXT COLLATE "C",
    -- How it began, as `SessionOrigin` names it.
    origin TEXT COLLATE "C" NOT NULL,
    created_ms BIGINT NOT NULL,
    -- When the session ends by itself, no matter how often it is refreshed; NULL if it does not.
    expires_ms BIGINT,
    -- When it was ended for good, if its device stays until its user logs in there again.
    ended_ms BIGINT
);
CREATE INDEX sessions_device ON sessions (user_id, device_id);

ALTER TABLE access_tokens ADD COLUMN session_id TEXT COLLATE "C";
-- How often the session had been refreshed when the token was issued.
ALTER TABLE access_tokens ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;

-- A token whose parent is gone was refused already.
DELETE FROM access_tokens t WHERE parent_hash IS NOT NULL
    AND NOT EXISTS (SELECT FROM access_tokens p WHERE p.token_hash = t.parent_hash);
-- A token that has a parent was never used, and so nothing was refreshed from it.
UPDATE access_tokens SET session_id = coalesce(parent_hash, token_hash),
    generation = CASE WHEN parent_hash IS NULL THEN 0 ELSE 1 END;
INSERT INTO sessions (session_id, user_id, device_id, origin, created_ms)
SELECT token_hash, user_id, device_id, 'password', created_ms FROM access_tokens
WHERE parent_hash IS NULL;
ALTER TABLE access_tokens ALTER COLUMN session_id SET NOT NULL;
CREATE INDEX access_tokens_session ON access_tokens (session_id);

-- Nodes of 0.1 know nothing of sessions: a token that they insert begins a session, or continues
-- that of its parent.

CREATE FUNCTION give_token_a_session() RETURNS TRIGGER
LANGUAGE plpgsql
AS $$
BEGIN
    SELECT p.session_id, p.generation + 1 INTO NEW.session_id, NEW.generation
    FROM access_tokens p WHERE p.token_hash = NEW.parent_hash;
    IF NOT FOUND THEN
        NEW.session_id := NEW.token_hash;
        NEW.generation := 0;
        INSERT INTO sessions (session_id, user_id, device_id, origin, created_ms)
        VALUES (NEW.session_id, NEW.user_id, NEW.device_id, 'password', NEW.created_ms);
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER access_tokens_session BEFORE INSERT ON access_tokens
FOR EACH ROW WHEN (NEW.session_id IS NULL) EXECUTE FUNCTION give_token_a_session();

-- The refresh tokens that a session has replaced. Only a copied token can be presented again.
CREATE TABLE spent_refresh_tokens (
    session_id TEXT COLLATE "C" NOT NULL,
    generation BIGINT NOT NULL,
    refresh_hash TEXT COLLATE "C" NOT NULL UNIQUE,
    PRIMARY KEY (session_id, generation)
);

-- The audit log: who did what. `entry` is JSON, and the chain is computed over its text.
CREATE TABLE audit_log (
    -- The last position of the batch that made the change.
    pos BIGINT NOT NULL,
    -- The order among the entries of that batch.
    n BIGINT NOT NULL,
    entry TEXT NOT NULL,
    PRIMARY KEY (pos, n)
);

-- One link for each batch with entries: the SHA-256, in hexadecimal, of the previous link (64 zeros
-- for the first), the position, and the SHA-256 of each entry, separated by spaces.
CREATE TABLE audit_chain (
    pos BIGINT PRIMARY KEY,
    link TEXT COLLATE "C" NOT NULL
);

-- Writes the tables of a batch, and refuses a batch with keys that it does not know. A migration
-- that adds a table replaces this function and no other.

CREATE FUNCTION append_tables(batch JSONB, head BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    unknown JSONB := batch - '{incarnation,seq,now_ms,seen,seen_key,positions,touched,audit,
        room_guards,session_guards,account_guards,
        rooms,events,room_updates,event_updates,redactions,missing_prev_events,state_nodes,
        state_changes,memberships,forgotten_rooms,account_data,receipts,account_updates,
        all_device_removals,device_removals,session_ends,token_removals,users,profile_fields,
        interactive_results,devices,sessions,tokens,device_changes}'::text[];
BEGIN
    -- Keys that this schema does not know must not be left out silently.
    IF unknown <> '{}' THEN
        RAISE EXCEPTION 'append_batch does not know the keys %',
            (SELECT array_agg(key) FROM jsonb_object_keys(unknown) AS key);
    END IF;

    IF batch ? 'rooms' THEN PERFORM append_rooms(batch->'rooms', head); END IF;
    IF batch ? 'events' THEN PERFORM append_events(batch->'events', head); END IF;
    IF batch ? 'room_updates' THEN
        PERFORM append_room_updates(batch->'room_updates', head);
    END IF;
    IF batch ? 'event_updates' THEN
        PERFORM append_event_updates(batch->'event_updates', head);
    END IF;
    IF batch ? 'redactions' THEN PERFORM append_redactions(batch->'redactions', head); END IF;
    IF batch ? 'missing_prev_events' THEN
        PERFORM append_missing_prev_events(batch->'missing_prev_events', head);
    END IF;
    IF batch ? 'state_nodes' THEN PERFORM append_state_nodes(batch->'state_nodes', head); END IF;
    IF batch ? 'state_changes' THEN
        PERFORM append_state_changes(batch->'state_changes', head);
    END IF;
    IF batch ? 'memberships' THEN PERFORM append_memberships(batch->'memberships', head); END IF;
    IF batch ? 'forgotten_rooms' THEN
        PERFORM append_forgotten_rooms(batch->'forgotten_rooms', head);
    END IF;
    IF batch ? 'account_data' THEN
        PERFORM append_account_data(batch->'account_data', head);
    END IF;
    IF batch ? 'receipts' THEN PERFORM append_receipts(batch->'receipts', head); END IF;
    IF batch ? 'account_updates' THEN
        PERFORM append_account_updates(batch->'account_updates', head);
    END IF;
    IF batch ? 'all_device_removals' THEN
        PERFORM append_all_device_removals(batch->'all_device_removals', head);
    END IF;
    IF batch ? 'device_removals' THEN
        PERFORM append_device_removals(batch->'device_removals', head);
    END IF;
    IF batch ? 'session_ends' THEN
        PERFORM append_session_ends(batch->'session_ends', head);
    END IF;
    IF batch ? 'token_removals' THEN
        PERFORM append_token_removals(batch->'token_removals', head);
    END IF;
    IF batch ? 'users' THEN PERFORM append_users(batch->'users', head); END IF;
    IF batch ? 'profile_fields' THEN
        PERFORM append_profile_fields(batch->'profile_fields', head);
    END IF;
    IF batch ? 'interactive_results' THEN
        PERFORM append_interactive_results(batch->'interactive_results', head);
    END IF;
    IF batch ? 'devices' THEN PERFORM append_devices(batch->'devices', head); END IF;
    IF batch ? 'sessions' THEN PERFORM append_sessions(batch->'sessions', head); END IF;
    IF batch ? 'tokens' THEN PERFORM append_tokens(batch->'tokens', head); END IF;
    IF batch ? 'device_changes' THEN
        PERFORM append_device_changes(batch->'device_changes', head);
    END IF;
END
$$;

-- The appends of a batch that must not be written, by index in the batch, with the reason. `moved`
-- refuses nothing: only the room's extremities have changed, on which the append does not rely.
--
-- STABLE, so that it is inlined into the statement that calls it, and has that statement's plan and
-- snapshot. Sessions and tokens are not looked up with EXISTS, because with few rows that would be
-- planned as a hash of all of them.

CREATE FUNCTION broken_guards(batch JSONB) RETURNS TABLE (member BIGINT, reason TEXT)
LANGUAGE sql STABLE
AS $$
    SELECT g.member, CASE WHEN g.whole OR coalesce(r.state_pos, 0) <> g.state_pos
        THEN 'room' ELSE 'moved' END
    FROM jsonb_to_recordset(batch->'room_guards') AS g(member BIGINT, room_nid BIGINT,
        state_pos BIGINT, head_pos BIGINT, whole BOOLEAN)
    LEFT JOIN rooms r ON r.nid = g.room_nid
    WHERE coalesce(r.state_pos, 0) <> g.state_pos OR coalesce(r.head_pos, 0) <> g.head_pos
    UNION ALL
    SELECT g.member, 'session'
    FROM jsonb_to_recordset(batch->'session_guards')
        AS g(member BIGINT, session_id TEXT, token_hash TEXT)
    WHERE g.session_id IS NOT NULL
        AND (SELECT s.ended_ms IS NULL FROM sessions s
            WHERE s.session_id = g.session_id) IS NOT TRUE
    OR g.token_hash IS NOT NULL
        AND (SELECT t.token_hash FROM access_tokens t WHERE t.token_hash = g.token_hash) IS NULL
    UNION ALL
    SELECT g.member, 'account'
    FROM jsonb_to_recordset(batch->'account_guards')
        AS g(member BIGINT, user_id TEXT, expected TEXT, password_hash TEXT, devices JSONB)
    LEFT JOIN users u ON u.user_id = g.user_id
    WHERE CASE g.expected
        WHEN 'absent' THEN u.user_id IS NOT NULL
        WHEN 'password' THEN coalesce(u.deactivated, 1) <> 0
            OR u.password_hash IS DISTINCT FROM g.password_hash
        WHEN 'devices' THEN EXISTS (SELECT FROM devices d
            WHERE d.user_id = g.user_id AND NOT g.devices ? d.device_id)
        ELSE coalesce(u.deactivated, 1) <> 0 END
$$;

-- The rooms and events of a batch that must be new but already exist, and why they conflict.

CREATE FUNCTION taken(batch JSONB) RETURNS TABLE (nid BIGINT, reason TEXT)
LANGUAGE sql STABLE
AS $$
    SELECT r.nid, CASE WHEN w.room_id = r.room_id THEN 'room' ELSE 'nid' END
    FROM jsonb_to_recordset(batch->'rooms') AS r(nid BIGINT, room_id TEXT)
    JOIN rooms w ON w.room_id = r.room_id OR w.nid = r.nid
    UNION
    SELECT e.nid, 'event'
    FROM jsonb_to_recordset(batch->'events')
        AS e(nid BIGINT, event_id TEXT, txn_device TEXT, txn_id TEXT)
    JOIN events w ON w.event_id = e.event_id
        OR (w.txn_device = e.txn_device AND w.txn_id = e.txn_id)
    UNION
    SELECT e.nid, 'nid'
    FROM jsonb_to_recordset(batch->'events') AS e(nid BIGINT, event_id TEXT)
    JOIN events w ON w.nid = e.nid AND w.event_id <> e.event_id
$$;

-- Replaces the function of 0001_foundation.sql, where its arguments and results are described, and
-- calls the functions above. It also takes
--   seen_key           run and number of the batch that ended at `seen`; if that batch no longer
--                      exists, the log has lost what was seen
--   account_guards     accounts that must be in a certain state
--   audit              entries of the audit log
-- and states what it relies on: READ COMMITTED, without which the head that it reads may be older
-- than the lock, and a commit that waits for the flush, including that of a synchronous standby.

CREATE OR REPLACE FUNCTION append_batch(batch JSONB, OUT answer JSONB)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    asked TIMESTAMPTZ := clock_timestamp();
    lock_wait_us BIGINT;
    head BIGINT;
    last BIGINT;
    conflicts JSONB;
    moved JSONB;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'append_batch needs READ COMMITTED, and runs under %: set '
            'default_transaction_isolation of this role and database',
            upper(current_setting('transaction_isolation'));
    END IF;
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;

    PERFORM pg_advisory_xact_lock(7310579619);
    lock_wait_us := extract(epoch FROM clock_timestamp() - asked) * 1000000;

    -- A batch that is found was committed, but perhaps by a server that had not waited for its
    -- standby. Writing its row again makes this call wait. Whether extremities had moved when the
    -- batch was written is no longer known, so all count as moved.
    UPDATE log_batches SET committed_ms = committed_ms
    WHERE incarnation = (batch->>'incarnation')::bigint AND batch_seq = (batch->>'seq')::bigint
    RETURNING jsonb_build_object('prev', prev_pos, 'last', last_pos, 'lock_wait_us', lock_wait_us)
    INTO answer;
    IF FOUND THEN
        SELECT answer || jsonb_build_object('moved', jsonb_agg(g.member)) INTO answer
        FROM jsonb_to_recordset(batch->'room_guards') AS g(member BIGINT, whole BOOLEAN)
        WHERE NOT g.whole;
        RETURN;
    END IF;

    SELECT coalesce(max(last_pos), 0) INTO head FROM log_batches;
    IF head < (batch->>'seen')::bigint OR log_has_lost((batch->>'seen')::bigint,
        (batch->'seen_key'->>0)::bigint, (batch->'seen_key'->>1)::bigint) THEN
        answer := jsonb_build_object('behind', head);
        RETURN;
    END IF;
    last := head + (batch->>'positions')::bigint;

    IF batch ?| '{room_guards,session_guards,account_guards}' THEN
        SELECT jsonb_agg(jsonb_build_object('member', g.member, 'reason', g.reason))
                FILTER (WHERE g.reason <> 'moved'),
            jsonb_agg(g.member) FILTER (WHERE g.reason = 'moved')
        INTO conflicts, moved
        FROM broken_guards(batch) AS g;
        IF conflicts IS NOT NULL THEN
            answer := jsonb_build_object('conflicts', conflicts);
            RETURN;
        END IF;
    END IF;

    -- If a room or an event is not new, the block is rolled back and nothing is written.
    BEGIN
        PERFORM append_tables(batch, head);
    EXCEPTION WHEN SQLSTATE 'STOA1' THEN
        SELECT jsonb_agg(jsonb_build_object('nid', t.nid, 'reason', t.reason)) INTO conflicts
        FROM taken(batch) AS t;
        answer := jsonb_build_object('conflicts', conflicts);
        RETURN;
    END;
    IF batch ? 'audit' THEN PERFORM append_audit(batch->'audit', last); END IF;

    INSERT INTO log_batches (last_pos, prev_pos, incarnation, batch_seq, committed_ms, touched)
    VALUES (last, head, (batch->>'incarnation')::bigint, (batch->>'seq')::bigint,
        (batch->>'now_ms')::bigint, batch->>'touched');

    answer := jsonb_build_object('prev', head, 'last', last, 'moved', moved,
        'lock_wait_us', lock_wait_us);
END
$$;
