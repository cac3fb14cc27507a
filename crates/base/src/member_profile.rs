//! What rooms show of a user.

/// The fields of a user's profile that member events repeat.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#mroommember>
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberProfile {
    /// The display name.
    pub displayname: Option<String>,
    /// The avatar URL.
    pub avatar_url: Option<String>,
}
