//! Commands that reach the running server.

use std::time::Duration;

use stoa::control::{self, Command, ControlSocket, Reply};
use stoa_testing::{TestServer, both_databases};
use tokio::{net::UnixStream, time::timeout};

both_databases! {
    async fn a_command_that_takes_long_keeps_no_other_waiting(db: TestDatabase) {
        let server = TestServer::start(db).await;
        let folder = db.folder().join("control");
        std::fs::create_dir(&folder).unwrap();
        let socket = ControlSocket::bind(&folder).unwrap();
        let running = tokio::spawn(socket.run(server.state().clone()));
        let _slow = UnixStream::connect(control::socket_path(&folder)).await.unwrap();
        let asked = timeout(Duration::from_secs(5), control::ask(&folder, &Command::Ping)).await;
        assert!(matches!(asked, Ok(Ok(Some(Reply::Running)))), "{asked:?}");
        running.abort();
    }
}
