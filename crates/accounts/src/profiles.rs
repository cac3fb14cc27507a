//! The profiles of local users.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#profiles>

use std::collections::BTreeMap;

use ruma::UserId;
use serde_json::Value;
use stoa_base::{Actor, MemberProfile};
use stoa_storage::{
    Conn, Store,
    log::ProfileFieldRow,
    repo::{profiles, users},
};

use crate::failure::{Failure, fails_with_failure};

const DISPLAY_NAME: &str = "displayname";
const AVATAR_URL: &str = "avatar_url";

/// The maximum size of a profile, in bytes of JSON.
const MAX_PROFILE: usize = 64 * 1_024;
const MAX_FIELD_NAME: usize = 255;
/// The limits of these two are lower, since member events repeat them in each of the user's rooms.
const MAX_DISPLAY_NAME_CHARS: usize = 256;
const MAX_AVATAR_URL: usize = 1_000;

/// A profile: the values of its fields by name.
pub type Profile = BTreeMap<String, Value>;

/// How setting a field changed it.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileChange {
    /// The value before.
    pub old: Option<Value>,
    /// The value now.
    pub new: Option<Value>,
}

impl ProfileChange {
    /// Whether the value is different now.
    pub fn is_change(&self) -> bool {
        self.old != self.new
    }
}

/// Why a profile was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// There is no such user.
    #[error("there is no such user")]
    UnknownUser,
    /// The field's name is not allowed.
    #[error("this is not a valid name of a profile field")]
    InvalidField,
    /// The field's name is too long.
    #[error("the name of the profile field is too long")]
    FieldTooLong,
    /// The field cannot have this value.
    #[error("{0}")]
    InvalidValue(&'static str),
    /// The profile would be too large.
    #[error("the profile is too large")]
    TooLarge,
    /// The server failed, not the request.
    #[error(transparent)]
    Failure(#[from] Failure),
}

fails_with_failure!(ProfileError);

/// The profiles of local users.
#[derive(Debug)]
pub struct Profiles {
    pub(crate) store: Store,
}

impl Profiles {
    /// A user's profile; `None` if there is no such user.
    pub async fn get(&self, user_id: &UserId) -> Result<Option<Profile>, Failure> {
        let mut conn = self.store.read().await?;
        let profile = read_profile(&mut conn, user_id).await?;
        // No fields: either the user has set none, or there is no such user.
        if profile.is_empty() && users::find(&mut conn, user_id).await?.is_none() {
            return Ok(None);
        }
        Ok(Some(profile))
    }

    /// One field of a user's profile; `None` if it is not set or there is no such user.
    pub async fn field(&self, user_id: &UserId, field: &str) -> Result<Option<Value>, Failure> {
        if check_field(field).is_err() {
            return Ok(None);
        }
        let found = profiles::field(&mut self.store.read().await?, user_id, field).await?;
        found.as_deref().map(parse).transpose()
    }

    /// The fields that the user's member events repeat.
    pub async fn member_profile(&self, user_id: &UserId) -> Result<MemberProfile, Failure> {
        let mut profile = read_profile(&mut self.store.read().await?, user_id).await?;
        let mut string = |field| match profile.remove(field) {
            Some(Value::String(string)) => Some(string),
            _ => None,
        };
        Ok(MemberProfile { displayname: string(DISPLAY_NAME), avatar_url: string(AVATAR_URL) })
    }

    /// Sets a field of the actor's profile, or removes it if there is no value. A display name or
    /// avatar URL that is empty or null is also removed.
    pub async fn set_field(
        &self,
        actor: &Actor,
        field: &str,
        value: Option<&Value>,
    ) -> Result<ProfileChange, ProfileError> {
        check_field(field)?;
        let value = match value {
            Some(value) => check_value(field, value)?,
            None => None,
        };
        let mut conn = self.store.write().await?;
        if !users::lock(&mut conn, &actor.user_id).await? {
            return Err(ProfileError::UnknownUser);
        }
        let mut profile = read_profile(&mut conn, &actor.user_id).await?;
        let old = match value {
            Some(value) => profile.insert(field.to_owned(), value.clone()),
            None => profile.remove(field),
        };
        let change = ProfileChange { old, new: value.cloned() };
        if !change.is_change() {
            return Ok(change);
        }
        match value {
            Some(value) => {
                if to_json(&profile)?.len() > MAX_PROFILE {
                    return Err(ProfileError::TooLarge);
                }
                profiles::set(&mut conn, &actor.user_id, field, &to_json(value)?).await?;
            }
            None => profiles::delete(&mut conn, &actor.user_id, field).await?,
        }
        conn.commit().await?;
        Ok(change)
    }
}

/// The row for a new user's display name; `None` if the name is empty.
pub(crate) fn first_display_name(
    user_id: &UserId,
    name: &str,
) -> Result<Option<ProfileFieldRow>, ProfileError> {
    let value = Value::from(name);
    let Some(value) = check_value(DISPLAY_NAME, &value)? else { return Ok(None) };
    Ok(Some(ProfileFieldRow {
        user_id: user_id.to_string(),
        field: DISPLAY_NAME.to_owned(),
        value: to_json(value)?,
    }))
}

async fn read_profile(conn: &mut Conn, user_id: &UserId) -> Result<Profile, Failure> {
    let fields = profiles::fields(conn, user_id).await?;
    fields.into_iter().map(|(field, value)| Ok((field, parse(&value)?))).collect()
}

fn parse(value: &str) -> Result<Value, Failure> {
    Ok(serde_json::from_str(value).map_err(stoa_storage::Error::corrupt)?)
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<String, Failure> {
    Ok(serde_json::to_string(value).map_err(stoa_storage::Error::corrupt)?)
}

/// <https://spec.matrix.org/v1.19/appendices/#common-namespaced-identifier-grammar>
fn check_field(field: &str) -> Result<(), ProfileError> {
    if field.len() > MAX_FIELD_NAME {
        return Err(ProfileError::FieldTooLong);
    }
    let is_allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    let is_valid = field.starts_with(|first: char| first.is_ascii_lowercase())
        && field.bytes().all(is_allowed);
    if is_valid { Ok(()) } else { Err(ProfileError::InvalidField) }
}

/// The value to store for a field; `None` if the field is to be removed.
fn check_value<'a>(field: &str, value: &'a Value) -> Result<Option<&'a Value>, ProfileError> {
    if field != DISPLAY_NAME && field != AVATAR_URL {
        return Ok(Some(value));
    }
    match value {
        Value::Null => Ok(None),
        Value::String(string) if string.is_empty() => Ok(None),
        Value::String(string) => {
            if field == DISPLAY_NAME && string.chars().count() > MAX_DISPLAY_NAME_CHARS {
                return Err(ProfileError::InvalidValue("The display name is too long."));
            }
            if field == AVATAR_URL && string.len() > MAX_AVATAR_URL {
                return Err(ProfileError::InvalidValue("The avatar URL is too long."));
            }
            Ok(Some(value))
        }
        _ => Err(ProfileError::InvalidValue("The value must be a string.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_names_follow_the_grammar() {
        for field in ["displayname", "avatar_url", "m.tz", "org.example.a-b_c.1"] {
            assert!(check_field(field).is_ok(), "{field}");
        }
        for field in ["", "1a", ".a", "_a", "A", "aB", "a b", "a/b", "a\0", "é"] {
            assert!(matches!(check_field(field), Err(ProfileError::InvalidField)), "{field:?}");
        }
        assert!(check_field(&"a".repeat(255)).is_ok());
        assert!(matches!(check_field(&"a".repeat(256)), Err(ProfileError::FieldTooLong)));
    }
}
