use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::timeout,
};

use super::{Command, Reply, socket_path};
use crate::app::AppState;

/// The largest request, in bytes.
const MAX_QUESTION: u64 = 64 * 1024;

/// How many requests are handled at the same time.
const MAX_AT_ONCE: usize = 8;

/// How long a client may take to send its request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The socket on which the server takes commands. Dropping it removes the file.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// The user who runs the server.
    owner: u32,
}

impl ControlSocket {
    /// Creates the socket. The data folder must be locked by then, so a socket that exists there
    /// was left by a server that is gone.
    pub fn bind(data_dir: &Path) -> io::Result<Self> {
        let path = socket_path(data_dir);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        let owner = fs::metadata(&path)?.uid();
        Ok(Self { listener, path, owner })
    }

    /// Handles requests until it is dropped, several at the same time, because checking the audit
    /// log can take long.
    pub async fn run(self, state: AppState) {
        let mut answers = JoinSet::new();
        loop {
            if answers.len() >= MAX_AT_ONCE {
                answers.join_next().await;
            }
            while answers.try_join_next().is_some() {}
            match self.listener.accept().await {
                Ok((stream, _)) if self.may_ask(&stream) => {
                    let state = state.clone();
                    answers.spawn(async move {
                        if let Err(error) = answer(stream, &state).await {
                            tracing::warn!(%error, "a command was not answered");
                        }
                    });
                }
                Ok(_) => tracing::warn!("a command of another user of this machine was refused"),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept commands");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// The socket's mode ensures the same, but only shortly after it was created.
    fn may_ask(&self, stream: &UnixStream) -> bool {
        let user = stream.peer_cred().map(|credentials| credentials.uid());
        user.is_ok_and(|user| user == self.owner || user == 0)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // A file left behind does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

async fn answer(stream: UnixStream, state: &AppState) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut question = String::new();
    let mut limited = (&mut stream).take(MAX_QUESTION);
    timeout(TIMEOUT, limited.read_line(&mut question))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    let reply = match serde_json::from_str::<Command>(&question) {
        Ok(command) => command.run(state).await,
        Err(error) => Reply::Failed(format!("cannot parse the command: {error}")),
    };
    let mut reply = serde_json::to_string(&reply)?;
    reply.push('\n');
    timeout(TIMEOUT, stream.write_all(reply.as_bytes()))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)?
}
