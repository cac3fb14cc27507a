use std::{io, path::Path, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    time::timeout,
};

use super::{Command, Reply, socket_path};

/// How long the server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long it may take if it has to read a whole table.
const LONG_TIMEOUT: Duration = Duration::from_hours(1);

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The connection failed.
    #[error("cannot reach the running server: {0}")]
    Io(#[from] io::Error),
    /// The server does not answer.
    #[error("the running server does not answer")]
    Timeout,
    /// The reply cannot be parsed, perhaps because the server has another version.
    #[error("cannot parse the running server's answer: {0}")]
    Reply(#[from] serde_json::Error),
}

/// Sends a request to the server that runs on this data folder. `None` if no server is running.
pub async fn ask(data_dir: &Path, command: &Command) -> Result<Option<Reply>, AskError> {
    let stream = match UnixStream::connect(socket_path(data_dir)).await {
        Ok(stream) => stream,
        // A killed server leaves its socket behind, and nobody listens on it.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let mut question = serde_json::to_string(command)?;
    question.push('\n');
    let asking = async {
        let mut stream = BufReader::new(stream);
        stream.write_all(question.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        Ok::<_, AskError>(serde_json::from_str(&answer)?)
    };
    let limit = match command {
        Command::VerifyAudit { .. } => LONG_TIMEOUT,
        Command::CreateUser { .. } | Command::Jobs(_) | Command::Ping => TIMEOUT,
    };
    timeout(limit, asking).await.map_err(|_| AskError::Timeout)?.map(Some)
}
