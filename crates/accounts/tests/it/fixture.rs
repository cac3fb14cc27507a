//! Users and sessions for these tests.

use std::net::IpAddr;

use ruma::{DeviceId, OwnedUserId, UserId};
use stoa_accounts::{
    Accounts, LoginError, NewDevice, NewSession, NewUser, PasswordLogin, SessionError,
};
use stoa_base::Actor;

pub(crate) const PASSWORD: &str = "correct horse battery";

/// Creates a user called `username` with [`PASSWORD`].
pub(crate) async fn user(accounts: &Accounts, username: &str) -> OwnedUserId {
    let user = NewUser { username, password: Some(PASSWORD), admin: false, display_name: None };
    let admin = UserId::parse("@admin:test").unwrap();
    accounts.registrar.create_user(&Actor::user(&admin), user).await.unwrap()
}

pub(crate) fn login<'a>(user: &'a str, password: &'a str) -> PasswordLogin<'a> {
    PasswordLogin { user, password, device: NewDevice::default(), address: None }
}

pub(crate) fn from_address<'a>(login: PasswordLogin<'a>, address: &str) -> PasswordLogin<'a> {
    PasswordLogin { address: Some(address.parse::<IpAddr>().unwrap()), ..login }
}

/// Logs in with [`PASSWORD`] from a new device.
pub(crate) async fn log_in(accounts: &Accounts, user: &UserId) -> NewSession {
    accounts.passwords.log_in(login(user.as_str(), PASSWORD)).await.unwrap()
}

/// Logs in with [`PASSWORD`] from this device.
pub(crate) async fn log_in_from(
    accounts: &Accounts,
    user: &UserId,
    device: NewDevice<'_>,
) -> Result<NewSession, LoginError> {
    let login = PasswordLogin { device, ..login(user.as_str(), PASSWORD) };
    accounts.passwords.log_in(login).await
}

pub(crate) fn device(id: &str) -> NewDevice<'_> {
    NewDevice { device_id: Some(<&DeviceId>::from(id)), ..NewDevice::default() }
}

pub(crate) fn refreshable() -> NewDevice<'static> {
    NewDevice { refreshable: true, ..NewDevice::default() }
}

/// The actor of a session.
pub(crate) async fn actor(accounts: &Accounts, session: &NewSession) -> Actor {
    accounts.sessions.find(&session.tokens.access_token).await.unwrap().actor(None)
}

/// The result of using an access token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Good,
    Unknown,
    SoftLogout,
}

pub(crate) async fn taken(accounts: &Accounts, token: &str) -> Taken {
    match accounts.sessions.find(token).await {
        Ok(_) => Taken::Good,
        Err(SessionError::UnknownToken { soft_logout: false }) => Taken::Unknown,
        Err(SessionError::UnknownToken { soft_logout: true }) => Taken::SoftLogout,
        Err(error) => panic!("{error}"),
    }
}
