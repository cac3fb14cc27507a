//! Listens for connections and serves them, within limits on what they may hold.
//!
//! Connections speak HTTP/1.1. All clients use HTTP/2 only over TLS, which a reverse proxy in front
//! provides.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use crate::client_address::Peer;

/// How many connections one listener serves at a time. Further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 20_000;

/// How large the head of a request may be, in bytes, and how many headers it may have.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;

/// How long the head of a request may take to arrive, and therefore how long a connection may be
/// idle. It is longer than reverse proxies keep their connections, so that they close them first.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a client may go without taking any data before its connection is closed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long requests in progress may take once the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A server that listens on one or more addresses.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<TcpListener>,
}

impl Server {
    /// Begins to listen. Connections wait until [`Self::run`].
    pub async fn bind(addresses: &[SocketAddr]) -> Result<Self, BindError> {
        let mut listeners = Vec::with_capacity(addresses.len());
        for address in addresses {
            let listener = TcpListener::bind(address).await;
            listeners.push(listener.map_err(|error| BindError { address: *address, error })?);
        }
        Ok(Self { listeners })
    }

    /// The addresses on which the server listens, with the ports that the system chose for port 0.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok())
    }

    /// Serves until `stopping` completes. Then accepts no more connections, and returns when the
    /// requests in progress are answered or their time is up.
    pub async fn run(self, router: Router, stopping: CancellationToken) {
        let listeners = TaskTracker::new();
        for listener in self.listeners {
            listeners.spawn(accept(listener, router.clone(), stopping.clone()));
        }
        listeners.close();
        listeners.wait().await;
    }
}

/// An address on which the server cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address}: {error}{}", hint(.error))]
pub struct BindError {
    address: SocketAddr,
    #[source]
    error: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ". Another program, or another Stoa, listens there already",
        io::ErrorKind::PermissionDenied => ". Ports below 1024 are for privileged programs only",
        _ => "",
    }
}

async fn accept(listener: TcpListener, router: Router, stopping: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let connections = TaskTracker::new();
    let giving_up = CancellationToken::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS);
    loop {
        let next = async {
            // The semaphore is never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = stopping.cancelled() => break,
            next = next => next,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Usually there are too many open files. That is solved when connections close,
                // not by trying again at once.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if let Err(error) = set_options(&stream) {
            tracing::debug!(%peer, %error, "cannot set the options of a connection");
        }
        let router = router.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            router.clone().oneshot(request.map(Body::new))
        });
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        let giving_up = giving_up.clone();
        connections.spawn(async move {
            metrics::gauge!("stoa_http_connections").increment(1);
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "a connection broke");
                },
                () = giving_up.cancelled() => {}
            }
            metrics::gauge!("stoa_http_connections").decrement(1);
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(STOP_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!(connections = connections.len(), "stopping cut off unfinished requests");
    }
    giving_up.cancel();
    connections.wait().await;
}

/// Sets `TCP_NODELAY`, since answers are small and awaited, and a time-out for clients that vanish.
fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(WRITE_TIMEOUT))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(WRITE_TIMEOUT))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        task::JoinHandle,
        time::{Instant, sleep},
    };

    use super::*;

    const REQUEST: &[u8] = b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n";

    async fn start() -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let slow = get(async || {
            sleep(Duration::from_millis(300)).await;
            "done"
        });
        let server = Server::bind(&[SocketAddr::from(([127, 0, 0, 1], 0))]).await.expect("a port");
        let address = server.addresses().next().expect("an address");
        let stopping = CancellationToken::new();
        let router = Router::new().route("/slow", slow);
        let running = tokio::spawn(server.run(router, stopping.clone()));
        (address, stopping, running)
    }

    #[tokio::test]
    async fn stopping_waits_for_requests_but_not_for_idle_connections() {
        let (address, stopping, running) = start().await;
        let idle = TcpStream::connect(address).await.expect("a connection");
        let mut busy = TcpStream::connect(address).await.expect("a connection");
        busy.write_all(REQUEST).await.expect("sent");
        sleep(Duration::from_millis(100)).await;
        let began = Instant::now();
        stopping.cancel();
        running.await.expect("an end");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.ends_with("done"), "{answer}");
        TcpStream::connect(address).await.expect_err("nobody listens any more");
        drop(idle);
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let (address, stopping, running) = start().await;
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let head = format!("GET /slow HTTP/1.1\r\nHost: test\r\nX: {}\r\n", "x".repeat(MAX_HEAD));
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(answer, b"HTTP/1.1 431");
        stopping.cancel();
        running.await.expect("an end");
    }

    #[tokio::test]
    async fn the_error_names_an_address_in_use() {
        let (address, ..) = start().await;
        let error = Server::bind(&[address]).await.expect_err("taken");
        let message = error.to_string();
        assert!(message.contains(&address.to_string()), "{message}");
        assert!(message.contains("another Stoa"), "{message}");
    }
}
