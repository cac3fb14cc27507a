//! The whole server in process, and clients that speak HTTP to it.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
};

use axum::{Router, body::Body};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use ruma::UserId;
use serde_json::{Value, json};
use stoa::app::{App, AppState, Environment};
use stoa_accounts::PasswordCost;
use stoa_config::{Config, DatabaseUrl};
use stoa_http::{Audited, Class, Operation, client_address::Peer, limits::Caller};
use tower::ServiceExt as _;

use crate::TestDatabase;

/// Distinguishes the data folders of servers on one database.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The password of every user that [`TestServer::register`] creates.
pub const PASSWORD: &str = "correct horse battery staple";

/// A server in process. When it is dropped, it asserts that no request panicked.
///
/// Two of them on one PostgreSQL database are two nodes of one deployment.
#[derive(Debug)]
pub struct TestServer {
    app: Option<App>,
    router: Router,
}

impl TestServer {
    /// A server named `test`, without rate limits and with open registration.
    pub async fn start(database: &TestDatabase) -> Self {
        Self::start_with(database, |_, _| {}).await
    }

    /// A server whose configuration or environment is changed by `change`.
    pub async fn start_with(
        database: &TestDatabase,
        change: impl FnOnce(&mut Config, &mut Environment),
    ) -> Self {
        let server_name = "test".try_into().expect("a server name");
        let mut config = Config { server_name, ..Config::default() };
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        config.data_dir = database.folder().join(format!("node-{count}"));
        config.database.url = Some(database_url(database.url()));
        config.database.max_connections = 4;
        config.limits.enabled = false;
        config.registration.enabled = true;
        let mut environment = Environment {
            password_cost: PasswordCost { memory_kib: 8, passes: 1, lanes: 1 },
            ..Environment::default()
        };
        change(&mut config, &mut environment);
        let app = App::start(config, environment).await.expect("the server starts");
        Self { router: app.router(), app: Some(app) }
    }

    /// A client without a token.
    pub fn client(&self) -> TestClient {
        TestClient {
            router: self.router.clone(),
            token: None,
            user_id: String::new(),
            device_id: String::new(),
        }
    }

    /// Registers a user with [`PASSWORD`], and returns a client that is logged in.
    pub async fn register(&self, username: &str) -> TestClient {
        let request = json!({
            "auth": { "type": "m.login.dummy" }, "username": username, "password": PASSWORD,
        });
        let client = self.client();
        let session = client.post("/_matrix/client/v3/register", request).await.ok();
        client.with_session(&session)
    }

    /// Logs a user in on a new device.
    pub async fn log_in(&self, user: &TestClient) -> TestClient {
        let request = json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": user.user_id },
            "password": PASSWORD,
        });
        let client = self.client();
        let session = client.post("/_matrix/client/v3/login", request).await.ok();
        client.with_session(&session)
    }

    /// The parts of the server, for what cannot be seen from outside.
    pub fn state(&self) -> &AppState {
        self.app.as_ref().expect("a server that runs").state()
    }

    /// How many messages a user can send in one burst under this node's limits.
    pub fn messages_allowed(&self, user_id: &UserId) -> usize {
        let limits = &self.state().limits;
        let message = Operation::put("/send", Class::Messages, 1, Audited::No);
        let caller = Caller { user: Some(user_id), address: None };
        (0..1_000).take_while(|_| limits.spend(&message, caller).is_ok()).count()
    }

    /// The routes, so that a test can wrap them.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Stops the server as a signal would, so that another one can be started on the database. Its
    /// clients must have been dropped.
    pub async fn stop(mut self) {
        self.check_panics();
        self.router = Router::new();
        if let Some(app) = self.app.take() {
            app.stop().await;
        }
    }

    fn check_panics(&self) {
        let count = self.app.as_ref().map_or(0, |app| app.state().panics.count());
        assert_eq!(count, 0, "requests ended in a panic");
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // A test that is failing already says why.
        if !std::thread::panicking() {
            self.check_panics();
        }
    }
}

fn database_url(url: &str) -> DatabaseUrl {
    serde_json::from_value(url.into()).expect("a database URL")
}

/// A client of a [`TestServer`], logged in or not.
#[derive(Clone, Debug)]
pub struct TestClient {
    router: Router,
    token: Option<String>,
    /// The user, if logged in.
    pub user_id: String,
    /// The device, if logged in.
    pub device_id: String,
}

impl TestClient {
    /// The same client with another access token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same client with the session from a login or registration response.
    #[must_use]
    pub fn with_session(&self, session: &Value) -> Self {
        let text = |key: &str| session[key].as_str().unwrap_or_default().to_owned();
        Self {
            router: self.router.clone(),
            token: Some(text("access_token")),
            user_id: text("user_id"),
            device_id: text("device_id"),
        }
    }

    /// The access token, if logged in.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Sends GET to `path`.
    pub async fn get(&self, path: &str) -> TestResponse {
        self.request(Method::GET, path).send().await
    }

    /// Posts JSON to `path`.
    pub async fn post(&self, path: &str, body: Value) -> TestResponse {
        self.request(Method::POST, path).json(&body).send().await
    }

    /// Puts JSON at `path`.
    pub async fn put(&self, path: &str, body: Value) -> TestResponse {
        self.request(Method::PUT, path).json(&body).send().await
    }

    /// Sends DELETE to `path`.
    pub async fn delete(&self, path: &str) -> TestResponse {
        self.request(Method::DELETE, path).send().await
    }

    /// A request, to be completed and sent.
    pub fn request(&self, method: Method, path: &str) -> TestRequest {
        let mut request = Request::new(Vec::new());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().expect("a path");
        request.extensions_mut().insert(Peer(SocketAddr::from(([127, 0, 0, 1], 1))));
        let request = TestRequest { router: self.router.clone(), request };
        match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, &format!("Bearer {token}")),
            None => request,
        }
    }
}

/// A request that has not been sent yet.
#[derive(Debug)]
pub struct TestRequest {
    router: Router,
    request: Request<Vec<u8>>,
}

impl TestRequest {
    /// Sets a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a header");
        self.request.headers_mut().insert(name, value);
        self
    }

    /// Sets the body to JSON.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.body(body.to_string()).header(header::CONTENT_TYPE, "application/json")
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        *self.request.body_mut() = body.into();
        self
    }

    /// Makes the connection appear to come from another address.
    #[must_use]
    pub fn from(mut self, peer: SocketAddr) -> Self {
        self.request.extensions_mut().insert(Peer(peer));
        self
    }

    /// Sends it, and waits for the whole response.
    pub async fn send(self) -> TestResponse {
        let what = format!("{} {}", self.request.method(), self.request.uri());
        // A router never fails.
        let response = match self.router.oneshot(self.request.map(Body::from)).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes().to_vec();
        TestResponse { what, status: parts.status, headers: parts.headers, body }
    }
}

/// A response.
#[derive(Clone, Debug)]
pub struct TestResponse {
    what: String,
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl TestResponse {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            let body = String::from_utf8_lossy(&self.body);
            panic!("{} answered {} with no JSON ({error}): {body}", self.what, self.status)
        })
    }

    /// The JSON body of a response that must be 200.
    #[track_caller]
    pub fn ok(&self) -> Value {
        let body = self.json();
        assert_eq!(self.status, StatusCode::OK, "{} answered {body}", self.what);
        body
    }

    /// The status and Matrix error code of a response that must be an error.
    #[track_caller]
    pub fn error(&self) -> (u16, String) {
        let body = self.json();
        let refused = self.status.is_client_error() || self.status.is_server_error();
        assert!(refused, "{} answered {} {body}", self.what, self.status);
        assert!(body["error"].is_string() || body["flows"].is_array(), "{body}");
        (self.status.as_u16(), body["errcode"].as_str().unwrap_or_default().to_owned())
    }

    /// Checks the status and Matrix error code of a response.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.error(), (status, code.to_owned()), "{}", self.what);
    }
}
