//! Extracts one of ruma's request types and the authenticated session from an HTTP request.

use std::{fmt, future::Future, marker::PhantomData, net::IpAddr, sync::Arc};

use axum::extract::{FromRef, FromRequest, RawPathParams, Request};
use bytes::Bytes;
use http::Method;
use ruma::api::{
    IncomingRequest, IncomingRequestExt as _,
    auth_scheme::{
        AccessToken, AccessTokenOptional, AppserviceTokenOptional, AuthScheme as _, NoAccessToken,
        NoAuthentication,
    },
};
use stoa_accounts::Session;
use stoa_base::Actor;

use crate::{
    Budget, ClientAddress, Context, Error, Operation, Result, body, limits::Caller,
    operation::UNLISTED,
};

/// A request of ruma's type `R`, parsed and authenticated as its endpoint requires.
///
/// When the handler runs, this node's caches hold everything acknowledged before the request
/// arrived, so the handler decides nothing on older state. [`RumaSend`] leaves that to the append,
/// and [`RumaStatic`] is for answers that do not depend on anything stored.
#[derive(Debug)]
pub struct Ruma<R: Endpoint, F = Fresh> {
    /// The parsed request.
    pub body: R,
    /// A [`Session`], an optional one, or nothing, as the endpoint requires.
    pub session: <R::Authentication as Authenticate>::Session,
    /// The raw body, for content that ruma's type cannot express.
    pub raw: Bytes,
    /// The address that the request came from.
    pub address: Option<IpAddr>,
    /// The budget of the request, for handlers whose cost depends on the request.
    pub budget: Budget,
    consistency: PhantomData<F>,
}

/// A request whose handler puts [`Session::guard`] into an append. Whether the session still exists
/// is then checked under the log lock, and nothing is read before.
pub type RumaSend<R> = Ruma<R, Guarded>;

/// A request that needs no token and whose answer depends only on the configuration. It is answered
/// even while the database is unreachable.
pub type RumaStatic<R> = Ruma<R, Static>;

impl<R, F> Ruma<R, F>
where
    R: Endpoint,
    R::Authentication: Authenticate<Session = Arc<Session>>,
{
    /// The actor for changes made by this request.
    pub fn actor(&self) -> Actor {
        self.session.actor(self.address)
    }
}

/// A request type whose authentication scheme is supported.
pub trait Endpoint: IncomingRequest<Authentication: Authenticate> {}

impl<R: IncomingRequest<Authentication: Authenticate>> Endpoint for R {}

/// Gives a request type of our own the method, paths and authentication scheme of one of ruma's, if
/// ruma's type refuses what clients send or accepts what it should not.
#[macro_export]
macro_rules! endpoint_of {
    ($ruma:ty => $own:ty) => {
        impl ruma::api::Metadata for $own {
            const METHOD: http::Method = <$ruma as ruma::api::Metadata>::METHOD;
            const RATE_LIMITED: bool = <$ruma as ruma::api::Metadata>::RATE_LIMITED;
            type Authentication = <$ruma as ruma::api::Metadata>::Authentication;
            type PathBuilder = <$ruma as ruma::api::Metadata>::PathBuilder;
            const PATH_BUILDER: Self::PathBuilder = <$ruma as ruma::api::Metadata>::PATH_BUILDER;
        }
    };
}

/// How current the state must be for a request with the authentication scheme `A`.
pub trait Consistency<A> {
    /// Whether the caches are brought up to date before the request is read.
    const WAITS: bool;
}

/// The caches are as current as the arrival of the request.
#[derive(Debug)]
pub struct Fresh;

/// The cached session is used as it is, since the append is guarded.
#[derive(Debug)]
pub struct Guarded;

/// Nothing stored is read, so there can be no session either.
#[derive(Debug)]
pub struct Static;

impl<A> Consistency<A> for Fresh {
    const WAITS: bool = true;
}

impl Consistency<AccessToken> for Guarded {
    const WAITS: bool = false;
}

impl Consistency<NoAccessToken> for Static {
    const WAITS: bool = false;
}

impl Consistency<NoAuthentication> for Static {
    const WAITS: bool = false;
}

/// One of ruma's authentication schemes, and how to carry it out.
pub trait Authenticate {
    /// The result: the session, if there is one.
    type Session: fmt::Debug + Send;

    /// Whether a token is required.
    const REQUIRED: bool;

    /// Authenticates a request.
    fn authenticate(
        head: &http::Request<()>,
        address: Option<IpAddr>,
        context: &Context,
    ) -> impl Future<Output = Result<Self::Session>> + Send;
}

impl Authenticate for AccessToken {
    type Session = Arc<Session>;

    const REQUIRED: bool = true;

    async fn authenticate(
        head: &http::Request<()>,
        address: Option<IpAddr>,
        context: &Context,
    ) -> Result<Arc<Session>> {
        let token = Self::extract_authentication(head).map_err(|_| Error::missing_token())?;
        find_session(&token, address, context).await
    }
}

impl Authenticate for AccessTokenOptional {
    type Session = Option<Arc<Session>>;

    const REQUIRED: bool = false;

    async fn authenticate(
        head: &http::Request<()>,
        address: Option<IpAddr>,
        context: &Context,
    ) -> Result<Option<Arc<Session>>> {
        let token = Self::extract_authentication(head).map_err(|_| Error::missing_token())?;
        match token {
            Some(token) => find_session(&token, address, context).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Endpoints that clients call without a token. If one is sent anyway, it is ignored.
macro_rules! no_session {
    ($($scheme:ty),*) => {$(
        impl Authenticate for $scheme {
            type Session = ();

            const REQUIRED: bool = false;

            async fn authenticate(
                _: &http::Request<()>,
                _: Option<IpAddr>,
                _: &Context,
            ) -> Result<()> {
                Ok(())
            }
        }
    )*};
}

no_session!(NoAccessToken, NoAuthentication, AppserviceTokenOptional);

async fn find_session(
    token: &str,
    address: Option<IpAddr>,
    context: &Context,
) -> Result<Arc<Session>> {
    let session = match context.sessions.cached(token) {
        Some(session) => session,
        None => context.sessions.find(token).await?,
    };
    context.sessions.note_seen(&session, address);
    tracing::Span::current().record("user", session.user_id.as_str());
    Ok(session)
}

impl<S, R, F> FromRequest<S> for Ruma<R, F>
where
    S: Send + Sync,
    Arc<Context>: FromRef<S>,
    R: Endpoint,
    F: Consistency<R::Authentication>,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let context = &*Arc::<Context>::from_ref(state);
        let (parts, payload) = request.into_parts();
        let ClientAddress(address) = ClientAddress::of(&parts, &context.trusted_proxies);
        let operation = operation_of(&parts);
        let head = http::Request::from_parts(parts, ());
        // The limit comes before anything is read, so that refusing a request costs nothing.
        spend(operation, &head, address, context)?;
        if F::WAITS {
            context.freshness.current().await?;
        }
        // Authentication comes before the body, so that an unauthenticated client cannot make the
        // server read one.
        let session = R::Authentication::authenticate(&head, address, context).await?;

        let (mut parts, ()) = head.into_parts();
        let arguments = path_arguments(&mut parts).await?;
        let raw = if parts.method == Method::GET || parts.method == Method::HEAD {
            // Some clients send `{}`, which means nothing here.
            Bytes::new()
        } else {
            body::read(payload, context.max_request_bytes).await?
        };
        if !raw.is_empty() {
            body::check_json(&raw)?;
        }
        let arguments: Vec<&str> = arguments.iter().map(|(_, value)| value).collect();
        let request = http::Request::from_parts(parts, &*raw);
        let body = R::try_from_http_request(request, &arguments)?;
        let budget = Budget::new(&context.limits, operation.class);
        Ok(Self { body, session, raw, address, budget, consistency: PhantomData })
    }
}

/// The operation that the router has assigned to the route.
pub(super) fn operation_of(parts: &http::request::Parts) -> &'static Operation {
    parts.extensions.get::<&'static Operation>().copied().unwrap_or(&UNLISTED)
}

/// Charges the operation's cost to the user, if this node has the token's session in memory (it may
/// have just ended), and otherwise to the address. So looking up made-up tokens is also limited.
pub(super) fn spend(
    operation: &Operation,
    head: &http::Request<()>,
    address: Option<IpAddr>,
    context: &Context,
) -> Result<()> {
    let session = known_session(head, context);
    let user = session.as_ref().map(|session| &*session.user_id);
    context.limits.spend(operation, Caller { user, address })
}

/// The session of the request's token, if this node has it in memory. It may have just ended.
pub(super) fn known_session(head: &http::Request<()>, context: &Context) -> Option<Arc<Session>> {
    let token = AccessTokenOptional::extract_authentication(head).ok().flatten()?;
    context.sessions.cached(&token)
}

/// The path variables, each decoded by itself: a `%2F` in a segment does not end it.
async fn path_arguments(parts: &mut http::request::Parts) -> Result<RawPathParams> {
    use axum::extract::FromRequestParts as _;
    RawPathParams::from_request_parts(parts, &())
        .await
        .map_err(|error| Error::invalid_param(error.to_string()))
}
