//! The rules for user IDs.

use ruma::{OwnedUserId, ServerName, UserId};

/// The maximum length of a user ID, in bytes.
const MAX_USER_ID: usize = 255;

/// The user ID for a new user called `username`, or why the name is not allowed.
///
/// <https://spec.matrix.org/v1.19/appendices/#user-identifiers>
pub(crate) fn new_user_id(
    username: &str,
    server_name: &ServerName,
) -> Result<OwnedUserId, &'static str> {
    let localpart = username.to_ascii_lowercase();
    let is_allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'=' | b'-' | b'/' | b'+');
    if localpart.is_empty() {
        return Err("A user name cannot be empty.");
    }
    if !localpart.bytes().all(is_allowed) {
        return Err("A user name can only contain the letters a-z, digits, and ._=-/+");
    }
    if localpart.starts_with('_') {
        return Err("User names that begin with _ are reserved for application services.");
    }
    let user_id = format!("@{localpart}:{server_name}");
    if user_id.len() > MAX_USER_ID {
        return Err("The user name is too long.");
    }
    UserId::parse(user_id).map_err(|_| "The user name is not valid.")
}

/// The user IDs that `user` in a login request may stand for, the likeliest first. `user` is a full
/// user ID or a localpart, taken as typed and in lower case.
pub(crate) fn candidates(user: &str, server_name: &ServerName) -> Vec<OwnedUserId> {
    let user_id =
        if user.starts_with('@') { user.to_owned() } else { format!("@{user}:{server_name}") };
    let Ok(typed) = UserId::parse(user_id) else { return Vec::new() };
    if typed.server_name() != server_name || typed.as_str().len() > MAX_USER_ID {
        return Vec::new();
    }
    let lower = format!("@{}:{server_name}", typed.localpart().to_ascii_lowercase());
    let mut candidates = vec![typed];
    candidates.extend(UserId::parse(lower).ok().filter(|lower| !candidates.contains(lower)));
    candidates
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    fn allowed(username: &str) -> bool {
        new_user_id(username, server_name!("hs1")).is_ok()
    }

    #[test]
    fn names_follow_the_grammar_of_the_spec() {
        for name in ["q", "3", "a.b", "a_b", "a=b", "a-b", "a/b", "a+b", "42", "user-1/"] {
            assert!(allowed(name), "{name}");
        }
        for name in [
            "",
            "a!b",
            "a\"b",
            "a:b",
            "a?b",
            "a\\b",
            "a@b",
            "a[b",
            "a]b",
            "a{b",
            "a|b",
            "a}b",
            "a£b",
            "aéb",
            "a\nb",
            "a'b",
            "a b",
            "a\0b",
            "a,b",
            "_reserved",
        ] {
            assert!(!allowed(name), "{name:?}");
        }
    }

    #[test]
    fn names_are_lowercased() {
        let user_id = new_user_id("User-UPPER", server_name!("hs1")).unwrap();
        assert_eq!(user_id, "@user-upper:hs1");
    }

    #[test]
    fn the_whole_id_has_at_most_255_bytes() {
        assert!(allowed(&"a".repeat(255 - "@:hs1".len())));
        assert!(!allowed(&"a".repeat(255 - "@:hs1".len() + 1)));
    }

    #[test]
    fn a_localpart_and_a_full_id_mean_the_same_user() {
        let candidates = |user| candidates(user, server_name!("hs1"));
        assert_eq!(candidates("alice"), ["@alice:hs1"]);
        assert_eq!(candidates("@alice:hs1"), ["@alice:hs1"]);
        assert_eq!(candidates("@ALICE:hs1"), ["@ALICE:hs1", "@alice:hs1"]);
        assert!(candidates("@alice:hs2").is_empty());
        assert!(candidates("a:b").is_empty());
        assert!(candidates("a\0b").is_empty());
    }
}
