use ruma::{UserId, push::Ruleset};

/// The rules by which a user is notified: those that everybody starts with.
pub fn rules(user: &UserId) -> Ruleset {
    Ruleset::server_default(user)
}
