//! Two nodes on one PostgreSQL are one server: changes acknowledged by one are visible on the other
//! at once, and every message arrives once, even if a node dies or freezes.

mod call;
mod chat;
mod freshness;
mod process;

use std::time::Duration;

use stoa_testing::{Backend, TestDatabase, TestServer, run_on};

use self::{
    chat::{Chat, Node},
    process::Process,
};

/// How long a node is frozen: longer than PostgreSQL waits for it anywhere.
const FROZEN: Duration = Duration::from_secs(4);

#[test]
fn every_message_arrives_once_even_if_nodes_are_killed_and_frozen() {
    run_on(Backend::Postgres, async |db| {
        let nodes = [
            Node::Process(Box::new(Process::start(db.url()).await)),
            Node::Process(Box::new(Process::start(db.url()).await)),
        ];
        let [Node::Process(first), Node::Process(second)] = &nodes else { unreachable!() };
        let chat = Chat::new(&nodes);
        let disturb = async {
            chat.share_is_sent(25).await;
            first.kill().await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            first.restart().await;
            assert!(chat.repeated() > 0, "nobody noticed the kill");
            let repeated = chat.repeated();
            chat.share_is_sent(60).await;
            second.freeze();
            tokio::time::sleep(FROZEN).await;
            assert!(chat.repeated() > repeated, "nobody noticed the freeze");
            second.thaw();
        };
        tokio::join!(chat.run(), disturb);
    });
}

#[test]
fn every_message_arrives_once_even_without_notifications() {
    run_on(Backend::Postgres, async |db| {
        let nodes = [Node::InProcess(silent(db).await), Node::InProcess(silent(db).await)];
        Chat::new(&nodes).run().await;
    });
}

/// A node that neither sends nor receives notifications.
async fn silent(db: &TestDatabase) -> TestServer {
    TestServer::start_with(db, |_, environment| environment.tailer.announce = false).await
}
