//! Users, their devices and sessions, their profiles, account data and filters.
//!
//! Each activity has its own type, which holds what it needs and is passed to its callers;
//! [`Accounts`] only builds them. Everything that ends a session goes through the log, so that
//! every node drops the session from its [`SessionCache`]. Filters, which never change, are cached
//! too. All else is read from the database on demand.
//!
//! Secrets are stored only as hashes: passwords as argon2id, which is deliberately slow, and tokens
//! as SHA-256, which is enough for 256 random bits.

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
    profiles::{Profile, ProfileChange, ProfileError, Profiles},
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
