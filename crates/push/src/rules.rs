use ruma::{UserId, push::Ruleset};

/// The push rules of a user, which are always the default rules.
pub fn rules(user: &UserId) -> Ruleset {
    Ruleset::server_default(user)
}
