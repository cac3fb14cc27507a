//! Users, their devices and sessions, their profiles, account data and filters.
//!
//! [`Accounts`] is built once and shared. Its methods stand in one file for each concern. Whatever
//! ends a session goes through the log, so that every node drops it from its [`SessionCache`];
//! everything else is read from the database when it is asked for.
//!
//! Secrets are kept only as hashes: passwords by argon2id, which is made to be slow, and tokens by
//! SHA-256, which is enough for 256 random bits.

mod account_data;
mod accounts;
mod attempts;
mod change_password;
mod create_user;
mod devices;
mod erasure;
mod failed_logins;
mod failure;
mod filters;
mod interactive_auth;
mod last_seen;
mod login;
mod logout;
mod new_session;
mod options;
mod password_check;
mod passwords;
mod profiles;
mod refresh;
mod registration;
mod secrets;
mod session_cache;
mod sessions;
mod shared_secret;
mod username;
mod users;

pub use self::{
    account_data::{AccountDataError, put_account_data},
    accounts::{Accounts, Parts},
    change_password::ChangePasswordError,
    create_user::NewUser,
    devices::Device,
    failure::Failure,
    filters::{Filter, FilterError},
    interactive_auth::{InteractiveAuth, InteractiveAuthError, InteractiveRequest, Passed, Stage},
    login::{LoginError, PasswordLogin},
    new_session::{NewDevice, NewSession},
    options::{AttemptLimits, Options, Totals},
    passwords::{BadPasswordCost, PasswordCost, UnfitPassword},
    profiles::{MemberProfile, Profile, ProfileChange, ProfileError},
    refresh::{NewTokens, RefreshError},
    registration::{Registered, Registration, RegistrationAnswer, RegistrationError},
    secrets::DeploymentSecret,
    session_cache::SessionCache,
    sessions::{Session, SessionError},
    shared_secret::{SharedSecretError, SharedSecretRegistration},
    users::User,
};
