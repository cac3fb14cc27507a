//! From an HTTP request to one of ruma's request types, with whoever makes it.

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

/// A request of ruma's type `R`, read and authenticated as its endpoint demands.
///
/// By then this node's caches hold all that was acknowledged before the request arrived, so that
/// the handler decides nothing on older state. [`RumaSend`] leaves that to the append, and
/// [`RumaStatic`] is for answers that depend on nothing that is stored.
#[derive(Debug)]
pub struct Ruma<R: Endpoint, F = Fresh> {
    /// What was asked for.
    pub body: R,
    /// Who asks: a [`Session`], an optional one, or nothing, as the endpoint demands.
    pub session: <R::Authentication as Authenticate>::Session,
    /// The body as it came, for what ruma's type cannot say.
    pub raw: Bytes,
    /// Where the request came from.
    pub address: Option<IpAddr>,
    /// What the request uses up, for what its cost depends on.
    pub budget: Budget,
    consistency: PhantomData<F>,
}

/// A request whose handler puts [`Session::guard`] into an append: whether the token still holds is
/// then checked under the log lock, and nothing is read before.
pub type RumaSend<R> = Ruma<R, Guarded>;

/// A request that needs no token and whose answer depends on the configuration only: it is answered
/// while the database is not there, too.
pub type RumaStatic<R> = Ruma<R, Static>;

impl<R, F> Ruma<R, F>
where
    R: Endpoint,
    R::Authentication: Authenticate<Session = Arc<Session>>,
{
    /// On whose behalf a change is made.
    pub fn actor(&self) -> Actor {
        self.session.actor(self.address)
    }
}

/// A request type whose way of authentication is served here.
pub trait Endpoint: IncomingRequest<Authentication: Authenticate> {}

impl<R: IncomingRequest<Authentication: Authenticate>> Endpoint for R {}

/// Gives a request type of our own the method, the paths and the way of authentication of one of
/// ruma's, where that one refuses what clients send, or takes what it should not.
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

/// How current the state is on which a request is answered whose way of authentication is `A`.
pub trait Consistency<A> {
    /// Whether the caches are brought up to date before the request is looked at.
    const WAITS: bool;
}

/// The caches are current as of the arrival of the request.
#[derive(Debug)]
pub struct Fresh;

/// The cached session is taken as it is, since the append is guarded.
#[derive(Debug)]
pub struct Guarded;

/// Nothing that is stored is looked at, so there must be no session either.
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

/// A way of authentication, as ruma names it, and what comes of it.
pub trait Authenticate {
    /// Who was found to be asking.
    type Session: fmt::Debug + Send;

    /// Whether nobody gets in without a token.
    const REQUIRED: bool;

    /// Finds out who asks.
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

/// Endpoints that clients call without a token. One that is sent all the same is not looked at.
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
        // Before anything is read for the request: whoever asks too often is refused for free.
        spend(operation, &head, address, context)?;
        if F::WAITS {
            context.freshness.current().await?;
        }
        // Before the body, so that who is not let in cannot make the server read one.
        let session = R::Authentication::authenticate(&head, address, context).await?;

        let (mut parts, ()) = head.into_parts();
        let arguments = path_arguments(&mut parts).await?;
        let raw = if parts.method == Method::GET || parts.method == Method::HEAD {
            // Some clients send `{}`; it means nothing.
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

/// The operation that the router has found.
pub(super) fn operation_of(parts: &http::request::Parts) -> &'static Operation {
    parts.extensions.get::<&'static Operation>().copied().unwrap_or(&UNLISTED)
}

/// Spends what the operation costs from the budget of whoever asks: of the user whose token this
/// node knows, though it may have ended a moment ago, and of the address otherwise. So reading
/// sessions of tokens that nobody was given is limited, too.
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

/// The session of the request's token, where this node knows it; it may have ended a moment ago.
pub(super) fn known_session(head: &http::Request<()>, context: &Context) -> Option<Arc<Session>> {
    let token = AccessTokenOptional::extract_authentication(head).ok().flatten()?;
    context.sessions.cached(&token)
}

/// The variables of the path, decoded one by one: a `%2F` in a segment does not end it.
async fn path_arguments(parts: &mut http::request::Parts) -> Result<RawPathParams> {
    use axum::extract::FromRequestParts as _;
    RawPathParams::from_request_parts(parts, &())
        .await
        .map_err(|error| Error::invalid_param(error.to_string()))
}
