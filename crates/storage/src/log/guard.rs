//! The facts that must still be true under the log lock for an append to be written, and how the
//! database checks them. On PostgreSQL the function `broken_guards` does.

use std::{collections::HashSet, sync::Arc};

use serde::Serialize;

use super::{Append, Chain, claim::Claim, rows::Rows};

/// A fact that must still be true under the log lock for an append to be written.
#[derive(Clone, Debug)]
pub enum Guard {
    /// The room's state is the one that the append was authorized against.
    State(Arc<Chain>),
    /// The room's state and extremities are the ones that the append was built on.
    Head(Arc<Chain>),
    /// The session with this ID has not ended. Which of its tokens a request carried does not
    /// matter: it may have been refreshed since.
    Session(String),
    /// The access token with this hash still belongs to its session.
    Token(String),
    /// The user's account is in this state.
    Account(String, AccountState),
}

/// The state that an account must be in for an append to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountState {
    /// It does not exist.
    Absent,
    /// It exists and is not deactivated.
    Open,
    /// It is not deactivated, and its password has this hash.
    Password(Option<String>),
    /// It has no devices other than these.
    Devices(Vec<String>),
}

impl Guard {
    /// The chain that the guard watches.
    pub(super) fn chain(&self) -> Option<&Arc<Chain>> {
        match self {
            Self::State(chain) | Self::Head(chain) => Some(chain),
            Self::Session(_) | Self::Token(_) | Self::Account(..) => None,
        }
    }

    /// The identifier that the guard looks up, if it is a text.
    pub(super) fn identifier(&self) -> Option<&String> {
        match self {
            Self::Session(id) | Self::Token(id) | Self::Account(id, _) => Some(id),
            Self::State(_) | Self::Head(_) => None,
        }
    }

    /// What no other append in the same batch may concern. Rooms are left out, because appends
    /// built on one chain are written together.
    pub(super) fn claim(&self) -> Option<Claim<'_>> {
        match self {
            Self::Account(user_id, _) => Some(Claim::Account(user_id)),
            Self::State(_) | Self::Head(_) | Self::Session(_) | Self::Token(_) => None,
        }
    }
}

// `place` is the index of the append in the batch, which the databases call `member`.

#[derive(Serialize)]
struct RoomGuard {
    #[serde(rename = "member")]
    place: usize,
    room_nid: i64,
    state_pos: i64,
    head_pos: i64,
    /// Whether the extremities must be unchanged too.
    whole: bool,
}

#[derive(Serialize)]
struct SessionGuard<'a> {
    #[serde(rename = "member")]
    place: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_hash: Option<&'a str>,
}

#[derive(Serialize)]
struct AccountGuard<'a> {
    #[serde(rename = "member")]
    place: usize,
    user_id: &'a str,
    expected: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_hash: Option<&'a str>,
    devices: &'a [String],
}

impl<'a> AccountGuard<'a> {
    fn new(place: usize, user_id: &'a str, state: &'a AccountState) -> Self {
        let (expected, password_hash, devices) = match state {
            AccountState::Absent => ("absent", None, &[][..]),
            AccountState::Open => ("open", None, &[][..]),
            AccountState::Password(hash) => ("password", hash.as_deref(), &[][..]),
            AccountState::Devices(devices) => ("devices", None, devices.as_slice()),
        };
        Self { place, user_id, expected, password_hash, devices }
    }
}

/// The guards of a batch of these appends, by kind.
pub(super) fn of_batch(appends: &[&Append]) -> serde_json::Result<Vec<Rows>> {
    let (mut rooms, mut sessions, mut accounts) = (Vec::new(), Vec::new(), Vec::new());
    // What a chain has committed is the same for all its appends, and if the first one fails, so do
    // the later ones. One check per chain is enough.
    let mut watched = HashSet::new();
    for (place, append) in appends.iter().enumerate() {
        for guard in &append.guards {
            match guard {
                Guard::State(chain) | Guard::Head(chain) => {
                    let whole = matches!(guard, Guard::Head(_));
                    if watched.insert((Arc::as_ptr(chain), whole)) {
                        rooms.push(RoomGuard {
                            place,
                            room_nid: chain.room().0,
                            state_pos: chain.state_pos().0,
                            head_pos: chain.head_pos().0,
                            whole,
                        });
                    }
                }
                Guard::Session(id) => {
                    sessions.push(SessionGuard { place, session_id: Some(id), token_hash: None });
                }
                Guard::Token(hash) => {
                    sessions.push(SessionGuard { place, session_id: None, token_hash: Some(hash) });
                }
                Guard::Account(user_id, state) => {
                    accounts.push(AccountGuard::new(place, user_id, state));
                }
            }
        }
    }
    let kinds = [
        of_kind("room_guards", ROOMS_SQLITE, &rooms)?,
        of_kind("session_guards", SESSIONS_SQLITE, &sessions)?,
        of_kind("account_guards", ACCOUNTS_SQLITE, &accounts)?,
    ];
    Ok(kinds.into_iter().flatten().collect())
}

fn of_kind<T: Serialize>(
    name: &'static str,
    sqlite: &'static [&'static str],
    guards: &[T],
) -> serde_json::Result<Option<Rows>> {
    if guards.is_empty() {
        return Ok(None);
    }
    Ok(Some(Rows { name, sqlite, taken: None, json: serde_json::to_string(guards)? }))
}

// Each query returns the appends that must not be written, by index in the batch, with the reason.
// `moved` refuses nothing: only the room's extremities have changed, on which the append does not
// rely.

const ROOMS_SQLITE: &[&str] = &["
SELECT g.value->>'member' AS place, CASE
    WHEN g.value->>'whole' OR coalesce(r.state_pos, 0) <> g.value->>'state_pos' THEN 'room'
    ELSE 'moved' END AS reason
FROM json_each($1) AS g LEFT JOIN rooms AS r ON r.nid = g.value->>'room_nid'
WHERE coalesce(r.state_pos, 0) <> g.value->>'state_pos'
    OR coalesce(r.head_pos, 0) <> g.value->>'head_pos'"];

const SESSIONS_SQLITE: &[&str] = &["
SELECT g.value->>'member' AS place, 'session' AS reason
FROM json_each($1) AS g
WHERE g.value->>'session_id' IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM sessions
            WHERE session_id = g.value->>'session_id' AND ended_ms IS NULL)
    OR g.value->>'token_hash' IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM access_tokens WHERE token_hash = g.value->>'token_hash')"];

const ACCOUNTS_SQLITE: &[&str] = &["
SELECT g.value->>'member' AS place, 'account' AS reason
FROM json_each($1) AS g LEFT JOIN users AS u ON u.user_id = g.value->>'user_id'
WHERE CASE g.value->>'expected'
    WHEN 'absent' THEN u.user_id IS NOT NULL
    WHEN 'password' THEN coalesce(u.deactivated, 1) <> 0
        OR u.password_hash IS NOT g.value->>'password_hash'
    WHEN 'devices' THEN EXISTS (SELECT 1 FROM devices d WHERE d.user_id = g.value->>'user_id'
        AND d.device_id NOT IN (SELECT value FROM json_each(g.value, '$.devices')))
    ELSE coalesce(u.deactivated, 1) <> 0 END"];
