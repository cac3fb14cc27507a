//! Creating an account on behalf of an admin.

use ruma::OwnedUserId;
use stoa_base::Actor;
use stoa_storage::log::Append;

use super::{NewAccount, RegisterError, Registrar};
use crate::sessions::guard_actor;

/// An account that an admin creates.
#[derive(Clone, Copy)]
pub struct NewUser<'a> {
    /// The localpart of its ID.
    pub username: &'a str,
    /// Its password; without one it cannot log in with a password.
    pub password: Option<&'a str>,
    /// Whether the user is an admin of this server.
    pub admin: bool,
    /// Its display name.
    pub display_name: Option<&'a str>,
}

impl Registrar {
    /// Creates an account, whether or not registration is open.
    pub async fn create_user(
        &self,
        actor: &Actor,
        user: NewUser<'_>,
    ) -> Result<OwnedUserId, RegisterError> {
        let user_id = self.new_user_id(user.username)?;
        self.check_is_free(&user_id).await?;
        let password_hash = match user.password {
            Some(password) => Some(self.hash_new_password(password).await?),
            None => None,
        };
        let account = NewAccount {
            user_id: &user_id,
            password_hash: password_hash.as_deref(),
            admin: user.admin,
            display_name: user.display_name,
            origin: "admin",
        };
        let mut append = Append::new();
        guard_actor(&mut append, actor);
        self.add_account(&mut append, actor, account)?;
        self.append_account(append).await?;
        tracing::info!(by = %actor.user_id, user = %user_id, admin = user.admin, "account created");
        Ok(user_id)
    }
}
