//! Refuses values that one of the databases cannot store, before an append shares a batch with
//! others.

use crate::log::outcome::AppendError;

/// The longest text allowed in a key, in bytes. PostgreSQL refuses index entries of more than 2,704
/// bytes, and none of our keys contains more than three texts without a limit of their own.
const KEY_LIMIT: usize = 512;

/// Whether a value can be stored.
pub(in crate::log) type Fit = Result<(), AppendError>;

/// Checks texts that can be part of a key.
pub(in crate::log) fn identifiers<'a>(texts: impl IntoIterator<Item = &'a String>) -> Fit {
    for text in texts {
        if text.len() > KEY_LIMIT {
            return Err(refused("an identifier is too long"));
        }
        if text.contains('\0') {
            return Err(refused("an identifier contains a null character"));
        }
    }
    Ok(())
}

/// Checks texts of any length.
pub(super) fn texts<'a>(texts: impl IntoIterator<Item = &'a String>) -> Fit {
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(refused("a text contains a null character"));
    }
    Ok(())
}

pub(super) fn refused(why: &str) -> AppendError {
    AppendError::Refused(why.to_owned())
}
