//! HTTP/1.1 to the server: one connection, one request at a time, kept alive.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode,
    client::conn::http1::{self, SendRequest},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{net::TcpStream, time::Instant};

/// Why a request did not count as a success. Failures are counted by this text.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Failure {
    #[error("no connection: {0}")]
    Transport(String),
    #[error("no answer in time")]
    Timeout,
    #[error("status {status} {errcode}")]
    Status { status: u16, errcode: String },
    #[error("unexpected: {0}")]
    Unexpected(String),
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        Self::Transport(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Transport(error.to_string())
    }
}

/// Where connections go.
#[derive(Clone)]
pub(crate) struct Server {
    address: String,
    timeout: Duration,
}

impl Server {
    pub(crate) fn new(address: &str, timeout: Duration) -> Self {
        Self { address: address.to_owned(), timeout }
    }

    /// A connection that is opened when it is first used.
    pub(crate) fn connection(&self) -> Connection {
        Connection { server: self.clone(), sender: None }
    }
}

/// An answer with status 200.
pub(crate) struct Reply {
    pub(crate) body: Bytes,
    /// The time from sending the request until the last byte of the body.
    pub(crate) elapsed: Duration,
    /// When the last byte arrived.
    pub(crate) finished: Instant,
}

impl Reply {
    /// Parses the body as the expected type.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Failure::Unexpected(format!("body: {error}")))
    }
}

/// Opens the connection, or reopens it if it was closed.
pub(crate) struct Connection {
    server: Server,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// A GET as the user with this access token.
    pub(crate) async fn get(&mut self, path: &str, token: &str) -> Result<Reply, Failure> {
        self.call(Method::GET, path, Some(token), None).await
    }

    /// A request, and its answer if that has status 200.
    pub(crate) async fn call(
        &mut self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<String>,
    ) -> Result<Reply, Failure> {
        let mut request =
            Request::builder().method(method).uri(path).header(HOST, &self.server.address);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::from(body.unwrap_or_default()))
            .map_err(|error| Failure::Unexpected(error.to_string()))?;

        let timeout = self.server.timeout;
        let exchange = tokio::time::timeout(timeout, self.exchange(request)).await;
        let outcome = exchange.unwrap_or(Err(Failure::Timeout));
        if outcome.is_err() {
            // The rest of this exchange must not be taken for the next answer.
            self.sender = None;
        }
        let (status, reply) = outcome?;
        if status == StatusCode::OK { Ok(reply) } else { Err(refusal(status, &reply.body)) }
    }

    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Reply), Failure> {
        let sender = match &mut self.sender {
            Some(sender) if !sender.is_closed() => sender,
            closed => closed.insert(connect(&self.server.address).await?),
        };
        sender.ready().await?;
        let started = Instant::now();
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        let finished = Instant::now();
        Ok((status, Reply { body, elapsed: finished - started, finished }))
    }
}

async fn connect(address: &str) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The task ends with the sender, and its errors are seen by the current request.
    tokio::spawn(connection);
    Ok(sender)
}

fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    #[derive(Deserialize)]
    struct Refusal {
        errcode: String,
    }
    let errcode =
        serde_json::from_slice(body).map_or_else(|_| String::new(), |r: Refusal| r.errcode);
    Failure::Status { status: status.as_u16(), errcode }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_status_and_code() {
        let limited = refusal(StatusCode::TOO_MANY_REQUESTS, br#"{"errcode":"M_LIMIT_EXCEEDED"}"#);
        assert_eq!(limited.to_string(), "status 429 M_LIMIT_EXCEEDED");
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, b"<html>").to_string(), "status 502 ");
    }
}
