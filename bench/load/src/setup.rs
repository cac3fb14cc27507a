//! Shared by the scenarios: the server, and the accounts and rooms created before measuring.

use std::{
    cell::{Cell, RefCell},
    fmt::Write as _,
    time::Duration,
};

use hmac::{Hmac, KeyInit, Mac};
use hyper::Method;
use serde::Deserialize;
use serde_json::json;
use sha1::Sha1;

use crate::{
    api::Account,
    connection::{Connection, Failure, Server},
    drive::{Limit, drive},
    input::next_line,
    processes::Processes,
    scale::Scale,
};

/// A room with very many users in its state.
#[derive(Clone)]
pub(crate) struct LargeRoom {
    pub(crate) owner: Account,
    pub(crate) room: String,
}

/// A user in many rooms of many members.
#[derive(Clone)]
pub(crate) struct LargeRooms {
    pub(crate) user: Account,
    pub(crate) rooms: usize,
}

/// A user in very many rooms where nothing happens.
#[derive(Clone)]
pub(crate) struct QuietRooms {
    pub(crate) user: Account,
    pub(crate) rooms: Vec<String>,
}

/// A user in many rooms that have seen some messages.
#[derive(Clone)]
pub(crate) struct ManyRooms {
    pub(crate) user: Account,
    pub(crate) rooms: Vec<String>,
}

/// Requests in flight while accounts and rooms are made.
const SETUP_WORKERS: usize = 8;

/// A server under test.
pub(crate) struct Bench {
    pub(crate) server: Server,
    other_node: Option<Server>,
    processes: Cell<Processes>,
    pub(crate) scale: Scale,
    /// Made by the first of the scenarios that need it.
    pub(crate) many_rooms: RefCell<Option<ManyRooms>>,
    pub(crate) large_room: RefCell<Option<LargeRoom>>,
    pub(crate) large_rooms: RefCell<Option<LargeRooms>>,
    pub(crate) quiet_rooms: RefCell<Option<QuietRooms>>,
    secret: String,
    /// Apart from other runs of this program against the same server.
    id: u32,
    accounts: RefCell<Vec<Account>>,
    names: Cell<usize>,
}

impl Bench {
    pub(crate) fn new(
        server: Server,
        other_node: Option<Server>,
        secret: &str,
        processes: Processes,
        scale: Scale,
    ) -> Self {
        Self {
            server,
            other_node,
            processes: Cell::new(processes),
            scale,
            many_rooms: RefCell::default(),
            large_room: RefCell::default(),
            large_rooms: RefCell::default(),
            quiet_rooms: RefCell::default(),
            secret: secret.to_owned(),
            id: rand::random(),
            accounts: RefCell::default(),
            names: Cell::default(),
        }
    }

    /// The processes that are measured.
    pub(crate) fn processes(&self) -> Processes {
        self.processes.get()
    }

    /// Another node of the same deployment.
    pub(crate) fn other_node(&self) -> Result<&Server, Failure> {
        self.other_node.as_ref().ok_or_else(|| Failure::Unexpected("there is no other node".into()))
    }

    /// Has the server stopped and started again on the same address.
    pub(crate) fn restart_server(&self) -> Result<(), Failure> {
        println!("{}", json!({ "restart": true }));
        let line = next_line()?.unwrap_or_default();
        let pid = line.parse().map_err(|_| Failure::Unexpected(format!("no process: {line}")))?;
        self.processes.set(Processes { server: Some(pid), ..self.processes() });
        Ok(())
    }

    /// A name that is unique on the server.
    pub(crate) fn unique_name(&self, kind: &str) -> String {
        let number = self.names.replace(self.names.get() + 1);
        format!("{kind}-{:08x}-{number}", self.id)
    }

    /// Accounts shared with other scenarios, which only the first one creates.
    pub(crate) async fn accounts(&self, count: usize) -> Result<Vec<Account>, Failure> {
        let lacking = count.saturating_sub(self.accounts.borrow().len());
        let register = async |connection: &mut Connection, _| self.register(connection).await;
        let new = self.prepare("accounts", lacking, register).await?;
        let mut accounts = self.accounts.borrow_mut();
        accounts.extend(new);
        Ok(accounts.iter().take(count).cloned().collect())
    }

    /// A new account. Its password is its name.
    pub(crate) async fn register(&self, connection: &mut Connection) -> Result<Account, Failure> {
        #[derive(Deserialize)]
        struct Nonce {
            nonce: String,
        }
        let path = "/_synapse/admin/v1/register";
        let reply = connection.call(Method::GET, path, None, None).await?;
        let Nonce { nonce } = reply.parse()?;
        let name = self.unique_name("user");
        let body = json!({
            "nonce": nonce, "username": name, "password": name, "admin": false,
            "mac": registration_mac(&self.secret, &nonce, &name)?,
        });
        connection.call(Method::POST, path, None, Some(body.to_string())).await?.parse()
    }

    /// Public rooms with all these members. They are created by the members in turn.
    pub(crate) async fn rooms(
        &self,
        count: usize,
        members: &[Account],
    ) -> Result<Vec<String>, Failure> {
        let creator = |room: usize| room % members.len().max(1);
        let create = async |connection: &mut Connection, room| {
            connection.create_room(&members[creator(room)]).await
        };
        let rooms = self.prepare("rooms", count, create).await?;
        let joins: Vec<(&Account, &str)> = rooms
            .iter()
            .enumerate()
            .flat_map(|(room, id)| {
                let others = members.iter().enumerate().filter(move |(i, _)| *i != creator(room));
                others.map(move |(_, member)| (member, &**id))
            })
            .collect();
        let join = async |connection: &mut Connection, i: usize| {
            let (member, room) = joins[i];
            connection.join(member, room).await
        };
        self.prepare("joins", joins.len(), join).await?;
        Ok(rooms)
    }

    /// Runs an operation the given number of times, unmeasured, and returns the results in order.
    /// All have to succeed.
    pub(crate) async fn prepare<T>(
        &self,
        what: &str,
        count: usize,
        operation: impl AsyncFn(&mut Connection, usize) -> Result<T, Failure>,
    ) -> Result<Vec<T>, Failure> {
        if count > 0 {
            eprintln!("  preparing {count} {what}");
        }
        let limit = Limit { operations: count, time: Duration::from_hours(1) };
        let mut driven =
            drive(&self.server, SETUP_WORKERS, limit, async |connection, _, number| {
                Ok(((number, operation(connection, number).await?), Duration::ZERO))
            })
            .await;
        if driven.results.len() < count {
            let failures = driven.recorder.failures();
            return Err(Failure::Unexpected(format!("cannot prepare {count} {what}: {failures}")));
        }
        driven.results.sort_unstable_by_key(|(number, _)| *number);
        Ok(driven.results.into_iter().map(|(_, result)| result).collect())
    }
}

/// Proof that the secret is known. The password is the name.
fn registration_mac(secret: &str, nonce: &str, name: &str) -> Result<String, Failure> {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes())
        .map_err(|error| Failure::Unexpected(error.to_string()))?;
    mac.update(format!("{nonce}\0{name}\0{name}\0notadmin").as_bytes());
    let mut hex = String::new();
    for byte in mac.finalize().into_bytes() {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_matches_the_expected_one() {
        // From Python's `hmac.new(b"secret", b"nonce\0user\0user\0notadmin", "sha1")`.
        let mac = registration_mac("secret", "nonce", "user").unwrap();
        assert_eq!(mac, "71b296993854ffa7318a46b1f292118113a05eb7");
    }
}
