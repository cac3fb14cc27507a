//! `GET /_matrix/client/v3/directory/room/{roomAlias}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3directoryroomroomalias>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::alias::get_alias::v3::{Request, Response};
use stoa_directory::{Directory, DirectoryError};
use stoa_http::{Answer, Result, Ruma};

/// Returns the room that an alias points to.
pub(crate) async fn get_alias(
    State(directory): State<Arc<Directory>>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    let found = directory.resolve(&request.body.room_alias).await?;
    let found = found.ok_or(DirectoryError::NotFound)?;
    Ok(Answer(Response::new(found.room.id.clone(), found.servers)))
}

#[cfg(test)]
mod tests {
    use stoa_testing::{TestServer, both_databases};

    both_databases! {
        async fn aliases_of_other_servers_are_not_known(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let answer = server.client().get("/_matrix/client/v3/directory/room/%23a:elsewhere").await;
            answer.refused(404, "M_NOT_FOUND");
        }
    }
}
