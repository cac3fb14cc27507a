//! Users, their devices and sessions, their profiles, account data and filters.
//!
//! Each activity has a type of its own, which holds what it needs and is handed to whoever needs it;
//! [`Accounts`] only builds them. Whatever ends a session goes through the log, so that every node
//! drops it from its [`SessionCache`]; everything else is read from the database when it is asked for.
//!
//! Secrets are kept only as hashes: passwords by argon2id, which is made to be slow, and tokens by
//! SHA-256, which is enough for 256 random bits.

mod account_data;
mod accounts;
mod attempts;
mod before;
mod devices;
mod failure;
mod filters;
mod interactive_auth;
mod options;
mod passwords;
mod profiles;
mod registration;
mod secrets;
mod sessions;
mod username;
mod users;

pub use self::{
    account_data::{AccountData, AccountDataError, put_account_data},
    accounts::{Accounts, Parts},
    devices::{Device, Devices},
    failure::Failure,
    filters::{Filter, FilterCache, FilterError, Filters},
    interactive_auth::{
        InteractiveAnswer, InteractiveAuth, InteractiveAuthError, InteractiveRequest, Passed, Stage,
    },
    options::{AttemptLimits, Options, PasswordCost, Totals},
    passwords::{
        BadPasswordCost, ChangePasswordError, LoginError, PasswordLogin, Passwords, UnfitPassword,
    },
    profiles::{MemberProfile, Profile, ProfileChange, ProfileError, Profiles},
    registration::{
        NewUser, RegisterAnswer, RegisterError, RegisterRequest, Registered, Registrar,
        SharedSecretError, SharedSecretRequest,
    },
    secrets::DeploymentSecret,
    sessions::{
        NewDevice, NewSession, NewTokens, RefreshError, Session, SessionCache, SessionError,
        Sessions,
    },
    users::{User, Users},
};
