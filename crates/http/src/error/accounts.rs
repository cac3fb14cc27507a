//! Converts the errors of the accounts crate to Matrix errors.

use std::time::Duration;

use http::StatusCode;
use ruma::api::error::ErrorKind;
use stoa_accounts::{
    AccountDataError, ChangePasswordError, Failure, FilterError, InteractiveAuthError, LoginError,
    ProfileError, RefreshError, RegisterError, SessionError, SharedSecretError, UnfitPassword,
};

use super::Error;

/// How long a client should wait after finding a queue full, which empties quickly.
const BUSY: Duration = Duration::from_secs(1);

impl From<Failure> for Error {
    fn from(error: Failure) -> Self {
        match error {
            Failure::Busy => Self::limit_exceeded(BUSY),
            Failure::Append(error) => error.into(),
            Failure::Storage(error) => error.into(),
        }
    }
}

impl From<SessionError> for Error {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::UnknownToken { soft_logout } => Self::unknown_token(soft_logout),
            SessionError::Failure(failure) => failure.into(),
        }
    }
}

impl From<LoginError> for Error {
    fn from(error: LoginError) -> Self {
        let message = error.to_string();
        match error {
            LoginError::Forbidden => Self::forbidden(message),
            LoginError::Deactivated => {
                Self::new(StatusCode::FORBIDDEN, ErrorKind::UserDeactivated, message)
            }
            LoginError::TooManyAttempts { retry_after } => Self::limit_exceeded(retry_after),
            LoginError::InvalidDeviceId => Self::invalid_param(message),
            LoginError::Failure(failure) => failure.into(),
        }
    }
}

impl From<RefreshError> for Error {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::UnknownToken { soft_logout } => Self::unknown_token(soft_logout),
            RefreshError::Failure(failure) => failure.into(),
        }
    }
}

impl From<UnfitPassword> for Error {
    fn from(error: UnfitPassword) -> Self {
        let message = error.to_string();
        match error {
            UnfitPassword::Empty => {
                Self::new(StatusCode::BAD_REQUEST, ErrorKind::WeakPassword, message)
            }
            UnfitPassword::TooLong => Self::invalid_param(message),
        }
    }
}

impl From<RegisterError> for Error {
    fn from(error: RegisterError) -> Self {
        let message = error.to_string();
        match error {
            RegisterError::Disabled => Self::forbidden(message),
            RegisterError::InvalidUsername(_) => {
                Self::new(StatusCode::BAD_REQUEST, ErrorKind::InvalidUsername, message)
            }
            RegisterError::UserInUse => {
                Self::new(StatusCode::BAD_REQUEST, ErrorKind::UserInUse, message)
            }
            RegisterError::MissingPassword => Self::missing_param(message),
            RegisterError::Password(unfit) => unfit.into(),
            RegisterError::InvalidDeviceId => Self::invalid_param(message),
            RegisterError::TooManyAttempts { retry_after } => Self::limit_exceeded(retry_after),
            RegisterError::Profile(error) => error.into(),
            RegisterError::Auth(error) => error.into(),
            RegisterError::Failure(failure) => failure.into(),
        }
    }
}

impl From<SharedSecretError> for Error {
    fn from(error: SharedSecretError) -> Self {
        let message = error.to_string();
        match error {
            SharedSecretError::Disabled | SharedSecretError::UnknownNonce => {
                Self::bad_request(message)
            }
            SharedSecretError::WrongMac => Self::forbidden(message),
            SharedSecretError::Register(error) => error.into(),
            SharedSecretError::Failure(failure) => failure.into(),
        }
    }
}

impl From<InteractiveAuthError> for Error {
    fn from(error: InteractiveAuthError) -> Self {
        let message = error.to_string();
        match error {
            InteractiveAuthError::RequestChanged => Self::forbidden(message),
            InteractiveAuthError::TooManyAttempts { retry_after } => {
                Self::limit_exceeded(retry_after)
            }
            InteractiveAuthError::Failure(failure) => failure.into(),
        }
    }
}

impl From<ChangePasswordError> for Error {
    fn from(error: ChangePasswordError) -> Self {
        let message = error.to_string();
        match error {
            ChangePasswordError::UnknownUser => Self::not_found(message),
            ChangePasswordError::Password(unfit) => unfit.into(),
            ChangePasswordError::Failure(failure) => failure.into(),
        }
    }
}

impl From<ProfileError> for Error {
    fn from(error: ProfileError) -> Self {
        let message = error.to_string();
        match error {
            ProfileError::UnknownUser => Self::not_found(message),
            ProfileError::InvalidField | ProfileError::InvalidValue(_) => {
                Self::invalid_param(message)
            }
            ProfileError::FieldTooLong => {
                Self::new(StatusCode::BAD_REQUEST, ErrorKind::KeyTooLarge, message)
            }
            ProfileError::TooLarge => {
                Self::new(StatusCode::BAD_REQUEST, ErrorKind::ProfileTooLarge, message)
            }
            ProfileError::Failure(failure) => failure.into(),
        }
    }
}

impl From<AccountDataError> for Error {
    fn from(error: AccountDataError) -> Self {
        let message = error.to_string();
        match error {
            // The specification requires this status.
            AccountDataError::Managed => {
                Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::BadJson, message)
            }
            AccountDataError::NotAnObject => Self::bad_json(message),
            AccountDataError::TooLarge | AccountDataError::TooMany | AccountDataError::Full => {
                Self::too_large(message)
            }
            AccountDataError::InvalidType => Self::invalid_param(message),
            AccountDataError::Failure(failure) => failure.into(),
        }
    }
}

impl From<FilterError> for Error {
    fn from(error: FilterError) -> Self {
        let message = error.to_string();
        match error {
            FilterError::Invalid(_) => Self::bad_json(message),
            FilterError::TooLarge | FilterError::TooMany => Self::too_large(message),
            FilterError::Failure(failure) => failure.into(),
        }
    }
}
