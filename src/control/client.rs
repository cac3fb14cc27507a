use std::{io, path::Path, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    time::timeout,
};

use super::{Command, Reply, socket_path};

/// How long the server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long it may take where it has to read a table from end to end.
const LONG_TIMEOUT: Duration = Duration::from_hours(1);

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The server cannot be talked to.
    #[error("the running server cannot be reached: {0}")]
    Io(#[from] io::Error),
    /// The server does not answer.
    #[error("the running server does not answer")]
    Timeout,
    /// The answer makes no sense, perhaps because the server is of another version.
    #[error("the running server's answer is not understood: {0}")]
    Reply(#[from] serde_json::Error),
}

/// Asks the server that runs on this data folder; none where none does.
pub async fn ask(data_dir: &Path, command: &Command) -> Result<Option<Reply>, AskError> {
    let stream = match UnixStream::connect(socket_path(data_dir)).await {
        Ok(stream) => stream,
        // A server that was killed leaves its socket behind, at which nobody listens.
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
