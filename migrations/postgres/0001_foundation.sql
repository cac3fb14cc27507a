-- The deployment: its server name, signing keys, and the counters that nodes draw from.

CREATE TABLE deployment (
    name TEXT COLLATE "C" PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE signing_keys (
    key_id TEXT COLLATE "C" PRIMARY KEY,
    pkcs8 BYTEA NOT NULL,
    created_ms BIGINT NOT NULL
);

CREATE TABLE counters (
    name TEXT COLLATE "C" PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('nid', 1), ('incarnation', 1);

-- The oldest version of the program that may run on this schema.
INSERT INTO deployment (name, value) VALUES ('oldest_version', '0.1.0');

-- The log: one row for each group of appends that was committed together.

CREATE TABLE log_batches (
    last_pos BIGINT PRIMARY KEY,
    prev_pos BIGINT NOT NULL,
    incarnation BIGINT NOT NULL,
    batch_seq BIGINT NOT NULL,
    committed_ms BIGINT NOT NULL,
    touched TEXT NOT NULL
);
CREATE UNIQUE INDEX log_batches_key ON log_batches (incarnation, batch_seq);

-- Rooms and events.

CREATE TABLE rooms (
    nid BIGINT PRIMARY KEY,
    room_id TEXT COLLATE "C" NOT NULL UNIQUE,
    version TEXT COLLATE "C" NOT NULL,
    created_ms BIGINT NOT NULL,
    extremities TEXT NOT NULL,
    state_root BIGINT NOT NULL,
    state_pos BIGINT NOT NULL,
    head_pos BIGINT NOT NULL,
    joined BIGINT NOT NULL,
    invited BIGINT NOT NULL,
    partial BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE events (
    nid BIGINT PRIMARY KEY,
    event_id TEXT COLLATE "C" NOT NULL UNIQUE,
    room_nid BIGINT NOT NULL,
    pos BIGINT,
    ord_pos BIGINT,
    ord_depth BIGINT NOT NULL,
    ord_seq BIGINT NOT NULL,
    depth BIGINT NOT NULL,
    sender TEXT COLLATE "C" NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    state_key TEXT COLLATE "C",
    origin_ts BIGINT NOT NULL,
    status BIGINT NOT NULL,
    state_before BIGINT,
    state_after BIGINT,
    partial BIGINT NOT NULL DEFAULT 0,
    replaces BIGINT,
    txn_device TEXT COLLATE "C",
    txn_id TEXT COLLATE "C",
    redacted_by BIGINT,
    revision BIGINT NOT NULL DEFAULT 0,
    json TEXT NOT NULL
);
CREATE INDEX events_order ON events (room_nid, ord_pos, ord_depth, ord_seq) WHERE ord_pos IS NOT NULL;
CREATE UNIQUE INDEX events_txn ON events (txn_device, txn_id) WHERE txn_id IS NOT NULL;

CREATE TABLE missing_prev_events (
    prev_event_id TEXT COLLATE "C" NOT NULL,
    event_nid BIGINT NOT NULL,
    PRIMARY KEY (prev_event_id, event_nid)
);

CREATE TABLE state_nodes (
    nid BIGINT PRIMARY KEY,
    node BYTEA NOT NULL
);

CREATE TABLE state_changes (
    room_nid BIGINT NOT NULL,
    pos BIGINT NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    state_key TEXT COLLATE "C" NOT NULL,
    old_nid BIGINT,
    new_nid BIGINT,
    PRIMARY KEY (room_nid, type, state_key, pos)
);
CREATE INDEX state_changes_pos ON state_changes (room_nid, pos);

CREATE TABLE memberships (
    user_id TEXT COLLATE "C" NOT NULL,
    room_nid BIGINT NOT NULL,
    membership TEXT COLLATE "C" NOT NULL,
    event_nid BIGINT NOT NULL,
    sender TEXT COLLATE "C" NOT NULL,
    pos BIGINT NOT NULL,
    forgotten BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, room_nid)
);
CREATE INDEX memberships_room ON memberships (room_nid, membership, user_id);

-- Accounts.

CREATE TABLE users (
    user_id TEXT COLLATE "C" PRIMARY KEY,
    password_hash TEXT COLLATE "C",
    admin BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    deactivated BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE profile_fields (
    user_id TEXT COLLATE "C" NOT NULL,
    field TEXT COLLATE "C" NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (user_id, field)
);

CREATE TABLE devices (
    user_id TEXT COLLATE "C" NOT NULL,
    device_id TEXT COLLATE "C" NOT NULL,
    display_name TEXT,
    created_ms BIGINT NOT NULL,
    last_seen_ms BIGINT,
    last_seen_address TEXT COLLATE "C",
    PRIMARY KEY (user_id, device_id)
);

-- An access token and the refresh token that was given out with it are one row and end together.
-- `parent_hash` is the token that this one was refreshed from, until this one is first used.
CREATE TABLE access_tokens (
    token_hash TEXT COLLATE "C" PRIMARY KEY,
    user_id TEXT COLLATE "C" NOT NULL,
    device_id TEXT COLLATE "C" NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    refresh_hash TEXT COLLATE "C",
    parent_hash TEXT COLLATE "C",
    refreshed_ms BIGINT
);
CREATE INDEX access_tokens_device ON access_tokens (user_id, device_id);
CREATE UNIQUE INDEX access_tokens_refresh ON access_tokens (refresh_hash)
    WHERE refresh_hash IS NOT NULL;
CREATE INDEX access_tokens_parent ON access_tokens (parent_hash) WHERE parent_hash IS NOT NULL;

CREATE TABLE interactive_auth_sessions (
    session_hash TEXT COLLATE "C" PRIMARY KEY,
    operation TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C",
    body_hash TEXT COLLATE "C",
    completed TEXT NOT NULL,
    result TEXT,
    created_ms BIGINT NOT NULL
);
CREATE INDEX interactive_auth_sessions_created ON interactive_auth_sessions (created_ms);

CREATE TABLE registration_nonces (
    nonce TEXT COLLATE "C" PRIMARY KEY,
    created_ms BIGINT NOT NULL
);

-- How often something was tried since `window_start_ms`: log-ins that failed, registrations.
CREATE TABLE attempts (
    subject TEXT COLLATE "C" PRIMARY KEY,
    attempts BIGINT NOT NULL,
    window_start_ms BIGINT NOT NULL
);
CREATE INDEX attempts_window ON attempts (window_start_ms);

CREATE TABLE filters (
    user_id TEXT COLLATE "C" NOT NULL,
    filter_id TEXT COLLATE "C" NOT NULL,
    definition TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, filter_id)
);

CREATE TABLE account_data (
    user_id TEXT COLLATE "C" NOT NULL,
    room_nid BIGINT NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    content TEXT NOT NULL,
    pos BIGINT NOT NULL,
    PRIMARY KEY (user_id, room_nid, type)
);
CREATE INDEX account_data_pos ON account_data (user_id, pos);

-- Read state, aliases, the local room list.

CREATE TABLE receipts (
    room_nid BIGINT NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    thread TEXT COLLATE "C" NOT NULL,
    event_id TEXT COLLATE "C" NOT NULL,
    ts BIGINT NOT NULL,
    pos BIGINT NOT NULL,
    PRIMARY KEY (room_nid, type, user_id, thread)
);
CREATE INDEX receipts_pos ON receipts (room_nid, pos);

CREATE TABLE aliases (
    alias TEXT COLLATE "C" PRIMARY KEY,
    -- None while the alias is only reserved, for a room that is being made.
    room_nid BIGINT,
    creator TEXT COLLATE "C" NOT NULL,
    reserved_until_ms BIGINT
);
CREATE INDEX aliases_room ON aliases (room_nid);
CREATE INDEX aliases_reserved ON aliases (reserved_until_ms) WHERE reserved_until_ms IS NOT NULL;

CREATE TABLE published_rooms (
    room_nid BIGINT PRIMARY KEY
);

-- Typing, which need not outlive a crash: then the counter begins again, in another epoch.
-- `written` is when a room's row was last written, for nodes to read what is new to them; `version`
-- is when those who are typing there last changed, for clients to be told.

CREATE UNLOGGED TABLE typing_counter (
    one BOOLEAN PRIMARY KEY DEFAULT true CHECK (one),
    epoch BIGINT NOT NULL,
    counter BIGINT NOT NULL
);

CREATE UNLOGGED TABLE typing_rooms (
    room_nid BIGINT PRIMARY KEY,
    written BIGINT NOT NULL,
    version BIGINT NOT NULL,
    -- Until when each user is typing, in milliseconds.
    typing JSONB NOT NULL
);
CREATE INDEX typing_rooms_written ON typing_rooms (written);

-- Nodes.

CREATE TABLE nodes (
    incarnation BIGINT PRIMARY KEY,
    version TEXT COLLATE "C" NOT NULL,
    started_ms BIGINT NOT NULL,
    heartbeat_ms BIGINT NOT NULL
);

-- A list that is bound as one JSON array: the same name and column that SQLite has built in.

CREATE FUNCTION json_each(list TEXT) RETURNS TABLE (value TEXT)
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 20
AS $$ SELECT jsonb_array_elements_text(list::jsonb) $$;

-- Writes one batch of appends under the log lock, in one call, so that the lock never waits for a
-- node. `batch` holds one array of rows for each table that it changes, and:
--   incarnation, seq   the key under which the batch is written at most once
--   seen               the head that the caller has seen
--   positions          how many positions the batch takes
--   room_guards        rooms whose state, or the whole of which, must not have moved
--   session_guards     access tokens that must still be there
-- Answers one of:
--   {prev, last, moved, lock_wait_us}        it was written, now or by an earlier call, even where
--                                            the extremities of these members' rooms have moved
--   {conflicts: [{member | nid, reason}]}    nothing was written: these stand in its way
--   {behind}                                 nothing was written: the log has lost what was seen
--
-- Under READ COMMITTED every statement of a VOLATILE function sees what was committed before the
-- statement began; hence those after the lock see all that was committed before it was given.

CREATE FUNCTION append_batch(batch JSONB, OUT answer JSONB)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    asked TIMESTAMPTZ := clock_timestamp();
    lock_wait_us BIGINT;
    head BIGINT;
    written BIGINT;
    conflicts JSONB;
    moved JSONB;
BEGIN
    PERFORM pg_advisory_xact_lock(7310579619);
    lock_wait_us := extract(epoch FROM clock_timestamp() - asked) * 1000000;

    SELECT jsonb_build_object('prev', prev_pos, 'last', last_pos, 'lock_wait_us', lock_wait_us)
    INTO answer
    FROM log_batches
    WHERE incarnation = (batch->>'incarnation')::bigint AND batch_seq = (batch->>'seq')::bigint;
    IF FOUND THEN
        RETURN;
    END IF;

    SELECT coalesce(max(last_pos), 0) INTO head FROM log_batches;
    IF head < (batch->>'seen')::bigint THEN
        answer := jsonb_build_object('behind', head);
        RETURN;
    END IF;

    IF batch ?| '{room_guards,session_guards}' THEN
        SELECT jsonb_agg(jsonb_build_object('member', c.member, 'reason', c.reason))
                FILTER (WHERE c.reason <> 'moved'),
            jsonb_agg(c.member) FILTER (WHERE c.reason = 'moved')
        INTO conflicts, moved
        FROM (
            SELECT g.member, CASE WHEN g.whole OR coalesce(r.state_pos, 0) <> g.state_pos
                THEN 'room' ELSE 'moved' END AS reason
            FROM jsonb_to_recordset(batch->'room_guards') AS g(member BIGINT, room_nid BIGINT,
                state_pos BIGINT, head_pos BIGINT, whole BOOLEAN)
            LEFT JOIN rooms r ON r.nid = g.room_nid
            WHERE coalesce(r.state_pos, 0) <> g.state_pos OR coalesce(r.head_pos, 0) <> g.head_pos
            UNION ALL
            SELECT g.member, 'session'
            FROM jsonb_to_recordset(batch->'session_guards') AS g(member BIGINT, token_hash TEXT)
            WHERE NOT EXISTS (SELECT FROM access_tokens t WHERE t.token_hash = g.token_hash)
        ) AS c;
        IF conflicts IS NOT NULL THEN
            answer := jsonb_build_object('conflicts', conflicts);
            RETURN;
        END IF;
    END IF;

    -- Rooms and events must be new. Where one is not, the block is undone and nothing is written.
    BEGIN
        IF batch ? 'rooms' THEN
            INSERT INTO rooms (nid, room_id, version, created_ms, extremities, state_root,
                state_pos, head_pos, joined, invited)
            SELECT r.nid, r.room_id, r.version, r.created_ms, '[]', 0, 0, 0, 0, 0
            FROM jsonb_to_recordset(batch->'rooms')
                AS r(nid BIGINT, room_id TEXT, version TEXT, created_ms BIGINT)
            ON CONFLICT DO NOTHING;
            GET DIAGNOSTICS written = ROW_COUNT;
            IF written <> jsonb_array_length(batch->'rooms') THEN
                RAISE EXCEPTION SQLSTATE 'STOA1';
            END IF;
        END IF;
        IF batch ? 'events' THEN
            INSERT INTO events (nid, event_id, room_nid, pos, ord_pos, ord_depth, ord_seq, depth,
                sender, type, state_key, origin_ts, status, state_before, state_after, partial,
                replaces, txn_device, txn_id, json)
            SELECT e.nid, e.event_id, e.room_nid, head + e.pos, coalesce(head + e.pos, e.ord_pos),
                e.ord_depth, e.ord_seq, e.depth, e.sender, e.type, e.state_key, e.origin_ts,
                e.status, e.state_before, e.state_after, e.partial, e.replaces, e.txn_device,
                e.txn_id, e.json
            FROM jsonb_to_recordset(batch->'events') AS e(nid BIGINT, event_id TEXT,
                room_nid BIGINT, pos BIGINT, ord_pos BIGINT, ord_depth BIGINT, ord_seq BIGINT,
                depth BIGINT, sender TEXT, type TEXT, state_key TEXT, origin_ts BIGINT,
                status BIGINT, state_before BIGINT, state_after BIGINT, partial BIGINT,
                replaces BIGINT, txn_device TEXT, txn_id TEXT, json TEXT)
            ON CONFLICT DO NOTHING;
            GET DIAGNOSTICS written = ROW_COUNT;
            IF written <> jsonb_array_length(batch->'events') THEN
                RAISE EXCEPTION SQLSTATE 'STOA1';
            END IF;
        END IF;
    EXCEPTION WHEN SQLSTATE 'STOA1' THEN
        SELECT jsonb_agg(jsonb_build_object('nid', c.nid, 'reason', c.reason)) INTO conflicts
        FROM (
            SELECT r.nid, CASE WHEN w.room_id = r.room_id THEN 'room' ELSE 'nid' END AS reason
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
        ) AS c;
        answer := jsonb_build_object('conflicts', conflicts);
        RETURN;
    END;

    IF batch ? 'room_updates' THEN
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
        FROM jsonb_to_recordset(batch->'room_updates') AS u(room_nid BIGINT, added JSONB,
            consumed JSONB, state_root BIGINT, state_pos BIGINT, head_pos BIGINT, joined BIGINT,
            invited BIGINT)
        WHERE rooms.nid = u.room_nid;
    END IF;

    IF batch ? 'event_updates' THEN
        UPDATE events SET
            pos = coalesce(head + u.pos, events.pos),
            ord_pos = coalesce(head + u.pos, u.ord_pos, events.ord_pos),
            ord_depth = coalesce(u.ord_depth, events.ord_depth),
            ord_seq = coalesce(u.ord_seq, events.ord_seq),
            status = coalesce(u.status, events.status),
            state_before = coalesce(u.state_before, events.state_before),
            state_after = coalesce(u.state_after, events.state_after),
            partial = coalesce(u.partial, events.partial)
        FROM jsonb_to_recordset(batch->'event_updates') AS u(nid BIGINT, pos BIGINT,
            ord_pos BIGINT, ord_depth BIGINT, ord_seq BIGINT, status BIGINT, state_before BIGINT,
            state_after BIGINT, partial BIGINT)
        WHERE events.nid = u.nid;
    END IF;

    IF batch ? 'redactions' THEN
        UPDATE events SET json = u.json, redacted_by = u.redacted_by, revision = revision + 1
        FROM jsonb_to_recordset(batch->'redactions')
            AS u(nid BIGINT, redacted_by BIGINT, json TEXT)
        WHERE events.nid = u.nid;
    END IF;

    IF batch ? 'missing_prev_events' THEN
        INSERT INTO missing_prev_events (prev_event_id, event_nid)
        SELECT m.prev_event_id, m.event_nid
        FROM jsonb_to_recordset(batch->'missing_prev_events')
            AS m(prev_event_id TEXT, event_nid BIGINT)
        ON CONFLICT DO NOTHING;
    END IF;

    IF batch ? 'state_nodes' THEN
        INSERT INTO state_nodes (nid, node)
        SELECT s.nid, decode(s.node, 'hex')
        FROM jsonb_to_recordset(batch->'state_nodes') AS s(nid BIGINT, node TEXT);
    END IF;

    IF batch ? 'state_changes' THEN
        INSERT INTO state_changes (room_nid, pos, type, state_key, old_nid, new_nid)
        SELECT s.room_nid, head + s.pos, s.type, s.state_key, s.old_nid, s.new_nid
        FROM jsonb_to_recordset(batch->'state_changes') AS s(room_nid BIGINT, pos BIGINT,
            type TEXT, state_key TEXT, old_nid BIGINT, new_nid BIGINT);
    END IF;

    IF batch ? 'memberships' THEN
        INSERT INTO memberships (user_id, room_nid, membership, event_nid, sender, pos)
        SELECT m.user_id, m.room_nid, m.membership, m.event_nid, m.sender, head + m.pos
        FROM jsonb_to_recordset(batch->'memberships') AS m(user_id TEXT, room_nid BIGINT,
            membership TEXT, event_nid BIGINT, sender TEXT, pos BIGINT)
        ON CONFLICT (user_id, room_nid) DO UPDATE SET membership = excluded.membership,
            event_nid = excluded.event_nid, sender = excluded.sender, pos = excluded.pos,
            forgotten = 0;
    END IF;

    IF batch ? 'forgotten_rooms' THEN
        UPDATE memberships SET forgotten = 1
        FROM jsonb_to_recordset(batch->'forgotten_rooms') AS f(user_id TEXT, room_nid BIGINT)
        WHERE memberships.user_id = f.user_id AND memberships.room_nid = f.room_nid
            AND memberships.membership IN ('leave', 'ban');
    END IF;

    IF batch ? 'account_data' THEN
        INSERT INTO account_data (user_id, room_nid, type, content, pos)
        SELECT a.user_id, a.room_nid, a.type, a.content, head + a.pos
        FROM jsonb_to_recordset(batch->'account_data') AS a(user_id TEXT, room_nid BIGINT,
            type TEXT, content TEXT, pos BIGINT)
        ON CONFLICT (user_id, room_nid, type)
        DO UPDATE SET content = excluded.content, pos = excluded.pos;
    END IF;

    IF batch ? 'receipts' THEN
        INSERT INTO receipts (room_nid, type, user_id, thread, event_id, ts, pos)
        SELECT r.room_nid, r.type, r.user_id, r.thread, r.event_id, r.ts, head + r.pos
        FROM jsonb_to_recordset(batch->'receipts') AS r(room_nid BIGINT, type TEXT, user_id TEXT,
            thread TEXT, event_id TEXT, ts BIGINT, pos BIGINT)
        ON CONFLICT (room_nid, type, user_id, thread)
        DO UPDATE SET event_id = excluded.event_id, ts = excluded.ts, pos = excluded.pos
        WHERE coalesce((
            SELECT (n.ord_pos, n.ord_depth, n.ord_seq) > (o.ord_pos, o.ord_depth, o.ord_seq)
            FROM events n, events o
            WHERE n.event_id = excluded.event_id AND o.event_id = receipts.event_id), true);
    END IF;

    IF batch ? 'device_removals' THEN
        DELETE FROM access_tokens t
        USING jsonb_to_recordset(batch->'device_removals') AS d(user_id TEXT, device_id TEXT)
        WHERE t.user_id = d.user_id AND t.device_id = d.device_id;
        DELETE FROM devices t
        USING jsonb_to_recordset(batch->'device_removals') AS d(user_id TEXT, device_id TEXT)
        WHERE t.user_id = d.user_id AND t.device_id = d.device_id;
    END IF;

    IF batch ? 'token_removals' THEN
        UPDATE access_tokens SET parent_hash = NULL
        FROM jsonb_to_recordset(batch->'token_removals') AS d(successor TEXT)
        WHERE access_tokens.token_hash = d.successor;
        DELETE FROM access_tokens t
        USING jsonb_to_recordset(batch->'token_removals') AS d(token_hash TEXT, successor TEXT)
        WHERE t.token_hash = d.token_hash AND (d.successor IS NULL
            OR EXISTS (SELECT FROM access_tokens s WHERE s.token_hash = d.successor));
        DELETE FROM access_tokens t
        USING jsonb_to_recordset(batch->'token_removals') AS d(token_hash TEXT)
        WHERE t.parent_hash = d.token_hash
            AND NOT EXISTS (SELECT FROM access_tokens p WHERE p.token_hash = d.token_hash);
    END IF;

    INSERT INTO log_batches (last_pos, prev_pos, incarnation, batch_seq, committed_ms, touched)
    VALUES (head + (batch->>'positions')::bigint, head, (batch->>'incarnation')::bigint,
        (batch->>'seq')::bigint, (batch->>'now_ms')::bigint, batch->>'touched');

    answer := jsonb_build_object('prev', head, 'last', head + (batch->>'positions')::bigint,
        'moved', moved, 'lock_wait_us', lock_wait_us);
END
$$;

-- Changes who is typing. `changes` is a list of {room_nid, user_id, timeout_ms}: a user with a
-- time-out is typing for that long, one with none has stopped, and a room without a user only loses
-- those whose time is over, as every room does that is named. Rooms that were not written for
-- `retained` counts are forgotten.
--
-- The row of the counter is locked first and to the end, so that counts become visible in order.

CREATE FUNCTION change_typing(changes JSONB, retained BIGINT) RETURNS VOID
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    now_ms BIGINT;
    next BIGINT;
    change RECORD;
    was JSONB;
    now_typing JSONB;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    INSERT INTO typing_counter (epoch, counter)
    VALUES (extract(epoch FROM clock_timestamp()) * 1000, 0) ON CONFLICT DO NOTHING;
    SELECT counter INTO next FROM typing_counter FOR UPDATE;
    now_ms := extract(epoch FROM clock_timestamp()) * 1000;

    FOR change IN
        SELECT c.room_nid,
            coalesce(jsonb_object_agg(c.user_id, now_ms + c.timeout_ms)
                FILTER (WHERE c.timeout_ms IS NOT NULL AND c.user_id IS NOT NULL), '{}') AS started,
            coalesce(array_agg(c.user_id) FILTER (WHERE c.timeout_ms IS NULL), '{}') AS stopped
        FROM jsonb_to_recordset(changes)
            AS c(room_nid BIGINT, user_id TEXT, timeout_ms BIGINT)
        GROUP BY c.room_nid
    LOOP
        SELECT typing INTO was FROM typing_rooms WHERE room_nid = change.room_nid;
        was := coalesce(was, '{}');
        now_typing := (was - change.stopped) || change.started;
        SELECT coalesce(jsonb_object_agg(t.key, t.value), '{}') INTO now_typing
        FROM jsonb_each(now_typing) AS t WHERE t.value::bigint > now_ms;
        CONTINUE WHEN was = '{}' AND now_typing = '{}';

        next := next + 1;
        INSERT INTO typing_rooms (room_nid, written, version, typing)
        VALUES (change.room_nid, next, next, now_typing)
        ON CONFLICT (room_nid) DO UPDATE SET written = next, typing = now_typing, version = CASE
            WHEN ARRAY(SELECT jsonb_object_keys(was)) = ARRAY(SELECT jsonb_object_keys(now_typing))
            THEN typing_rooms.version ELSE next END;
    END LOOP;

    UPDATE typing_counter SET counter = next WHERE counter <> next;
    DELETE FROM typing_rooms WHERE written <= next - retained;
END
$$;
