//! A proxy to PostgreSQL on which a test can intercept a call to the log.

use std::{
    future::Future,
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

/// How long anything may take: far longer than on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the payload of a call to `append_batch` begins with.
const CALL: &[u8] = br#"{"incarnation":"#;

/// The message that ends a call.
const SYNC: &[u8] = b"S\0\0\0\x04";

/// Passes connections on to a PostgreSQL server, message by message. If a test wants to catch a
/// call to the log, the call is handed to the test instead of being passed on.
#[derive(Debug)]
pub struct PostgresProxy {
    url: String,
    catchers: Catchers,
    accepting: JoinHandle<()>,
}

/// The tests that wait for a call, in the order in which they came.
type Catchers = Arc<Mutex<Vec<oneshot::Sender<Call>>>>;

impl PostgresProxy {
    /// A proxy to the database at `url`, whose address must have the form `host:port`.
    pub async fn start(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (user, address) = rest.split_once('@').expect("a user");
        let (server, database) = address.split_once('/').expect("a database");
        let database = database.split('?').next().unwrap_or_default();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let own = listener.local_addr().expect("an address");
        // Encrypted messages could not be read here.
        let url = format!("{scheme}://{user}@{own}/{database}?sslmode=disable");
        let catchers = Catchers::default();
        let accepting = tokio::spawn(accept(listener, server.to_owned(), Arc::clone(&catchers)));
        Self { url, catchers, accepting }
    }

    /// The URL of the database through the proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The next call that no earlier catcher gets. Calls count from when this function was called,
    /// not only from when the future was first polled.
    pub fn catch(&self) -> impl Future<Output = Call> + use<> {
        let (sender, call) = oneshot::channel();
        self.catchers.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        async {
            let caught = tokio::time::timeout(PATIENCE, call).await;
            caught.expect("a call comes").expect("the proxy runs")
        }
    }
}

impl Drop for PostgresProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A call to the log that has arrived completely and has not been passed on.
#[derive(Debug)]
pub struct Call {
    request: Vec<u8>,
    client: Wire,
    server: Wire,
    catchers: Catchers,
}

impl Call {
    /// Closes the connection to the node, like a network failure.
    pub fn cut(self) -> OrphanedCall {
        OrphanedCall { request: self.request, server: self.server }
    }

    /// Passes the call on, and returns it once the server's whole reply has arrived.
    pub async fn until_reply(mut self) -> Reply {
        self.server.write(&self.request).await.expect("the server takes the call");
        let reply = self.server.reply().await.expect("the server replies");
        Reply { reply, client: self.client, server: self.server, catchers: self.catchers }
    }

    /// Passes the call on, along with what comes after it.
    pub async fn pass_on(mut self) {
        self.server.write(&self.request).await.expect("the server takes the call");
        tokio::spawn(pass(self.client, self.server, self.catchers));
    }

    /// Passes the call on without its end, the Sync message, like a host that vanishes or freezes
    /// between two packets. The server executes the call and waits for more.
    pub async fn pass_on_without_its_end(mut self) -> UnendedCall {
        let end = self.request.len() - SYNC.len();
        let (call, sync) = self.request.split_at(end);
        assert_eq!(sync, SYNC, "a call ends with a Sync");
        self.server.write(call).await.expect("the server takes the call");
        UnendedCall { _client: self.client, _server: self.server }
    }
}

/// A call whose end has not reached the server. Its connections stay open until this is dropped.
#[derive(Debug)]
pub struct UnendedCall {
    _client: Wire,
    _server: Wire,
}

/// A call after the node has lost its connection.
#[derive(Debug)]
pub struct OrphanedCall {
    request: Vec<u8>,
    server: Wire,
}

impl OrphanedCall {
    /// Makes the server execute the call now, like a network that delivers late.
    pub async fn deliver(mut self) {
        self.server.write(&self.request).await.expect("the server takes the call");
        self.server.reply().await.expect("the server replies");
    }
}

/// A call that was executed, but whose reply has not been passed on.
#[derive(Debug)]
pub struct Reply {
    reply: Vec<u8>,
    client: Wire,
    server: Wire,
    catchers: Catchers,
}

impl Reply {
    /// Closes the connection to the node, which never gets the reply.
    pub fn cut(self) {
        drop(self.client);
    }

    /// Passes the reply on, along with what comes after it.
    pub async fn pass_on(mut self) {
        self.client.write(&self.reply).await.expect("the node's machine takes the reply");
        tokio::spawn(pass(self.client, self.server, self.catchers));
    }
}

async fn accept(listener: TcpListener, server: String, catchers: Catchers) {
    while let Ok((client, _)) = listener.accept().await {
        let (server, catchers) = (server.clone(), Arc::clone(&catchers));
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(server).await else { return };
            let (mut client, mut server) = (Wire::new(client), Wire::new(server));
            // Only the first message has no type byte before its length.
            let Ok(startup) = client.message(0).await else { return };
            if server.write(&startup).await.is_ok() {
                pass(client, server, catchers).await;
            }
        });
    }
}

/// Passes messages on in both directions, until one side closes or a call is caught.
async fn pass(mut client: Wire, mut server: Wire, catchers: Catchers) {
    let mut call = Vec::new();
    loop {
        tokio::select! {
            message = client.message(1) => {
                let Ok(message) = message else { return };
                let is_call = message.windows(CALL.len()).any(|window| window == CALL);
                if call.is_empty() && !is_call {
                    if server.write(&message).await.is_err() {
                        return;
                    }
                    continue;
                }
                call.extend_from_slice(&message);
                if message.first() != Some(&b'S') {
                    continue;
                }
                let request = std::mem::take(&mut call);
                let catcher = {
                    let mut waiting = catchers.lock().unwrap_or_else(PoisonError::into_inner);
                    (!waiting.is_empty()).then(|| waiting.remove(0))
                };
                if let Some(catcher) = catcher {
                    // If the catcher is gone, its test has failed.
                    let _ = catcher.send(Call { request, client, server, catchers });
                    return;
                }
                if server.write(&request).await.is_err() {
                    return;
                }
            }
            message = server.message(1) => {
                let Ok(message) = message else { return };
                if client.write(&message).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// One end of a connection, read message by message.
#[derive(Debug)]
struct Wire {
    stream: TcpStream,
    /// Bytes that have arrived and do not yet form a message.
    read: Vec<u8>,
}

impl Wire {
    fn new(stream: TcpStream) -> Self {
        // If this cannot be set, messages take a little longer.
        let _ = stream.set_nodelay(true);
        Self { stream, read: Vec::new() }
    }

    /// The next message, whose length follows `prefix` bytes. Dropping the future loses nothing.
    async fn message(&mut self, prefix: usize) -> io::Result<Vec<u8>> {
        loop {
            if let Some(length) = self.read.get(prefix..).and_then(|rest| rest.first_chunk()) {
                let end = prefix + u32::from_be_bytes(*length) as usize;
                if self.read.len() >= end {
                    let rest = self.read.split_off(end);
                    return Ok(std::mem::replace(&mut self.read, rest));
                }
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// All messages up to the one that says that the server is done with a request.
    async fn reply(&mut self) -> io::Result<Vec<u8>> {
        let mut reply = Vec::new();
        loop {
            let message = self.message(1).await?;
            reply.extend_from_slice(&message);
            if message.first() == Some(&b'Z') {
                return Ok(reply);
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }
}
