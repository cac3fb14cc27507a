//! Registering handlers at the paths that ruma knows for their requests.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{FromRef, Request, State},
    handler::Handler,
    response::{IntoResponse as _, Response},
    routing::{MethodFilter, on},
};
use http::Method;
use ruma::api::{Metadata, path_builder::PathBuilder as _};

use crate::{
    ClientAddress, Context, Operation,
    extract::{Authenticate, Consistency, Endpoint, Ruma},
    limits::Caller,
    operation::UNLISTED,
};

/// A served path and method.
#[derive(Clone, Debug)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with its variables in braces.
    pub path: String,
    /// Whether an access token is required.
    pub needs_token: bool,
    /// What it costs, and whether it is audited; `None` if it is not in the table of operations.
    pub operation: Option<&'static Operation>,
}

/// Routes on a router's state, and a list of them.
#[derive(Debug)]
pub struct Routes<S> {
    operations: Vec<&'static Operation>,
    router: Router<S>,
    table: Vec<Route>,
}

impl<S> Routes<S>
where
    S: Clone + Send + Sync + 'static,
    Arc<Context>: FromRef<S>,
{
    /// Starts without routes. `operations` says what the routes to be added cost.
    pub fn new(operations: &'static [Operation]) -> Self {
        Self { operations: operations.iter().collect(), router: Router::new(), table: Vec::new() }
    }

    /// Adds all routes of another API.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.operations.extend(other.operations);
        self.router = self.router.merge(other.router);
        self.table.extend(other.table);
        self
    }

    /// Serves a request that ruma knows, at every path that ruma lists for it. The handler's last
    /// argument determines the request.
    #[must_use]
    pub fn ruma<H, T>(self, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: RumaArguments + 'static,
    {
        let paths = <T::Request as Metadata>::PATH_BUILDER;
        paths.all_paths().fold(self, |routes, path| routes.ruma_at(path, handler.clone()))
    }

    /// Serves a request that ruma knows, at one more path.
    #[must_use]
    pub fn ruma_at<H, T>(mut self, path: &str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: RumaArguments + 'static,
    {
        let method = T::Request::METHOD;
        // The newest stable path comes last.
        let newest = <T::Request as Metadata>::PATH_BUILDER.all_paths().last();
        let operation = newest.and_then(|newest| self.operation(&method, newest));
        let filter = filter(&method);
        let needs_token = <T::Request as Metadata>::Authentication::REQUIRED;
        self.table.push(Route { method, path: path.to_owned(), needs_token, operation });
        // The limits are applied in the extractor, where the caller becomes known.
        let operation = Extension(operation.unwrap_or(&UNLISTED));
        self.router = self.router.route(path, on(filter, handler).layer(operation));
        self
    }

    /// Serves a request that needs no token and that ruma does not know, or that is answered
    /// without reading it.
    #[must_use]
    pub fn public<H, T>(mut self, method: Method, path: &str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        let operation = self.operation(&method, path);
        let filter = filter(&method);
        self.table.push(Route { method, path: path.to_owned(), needs_token: false, operation });
        let operation = operation.unwrap_or(&UNLISTED);
        let limited = async move |State(state): State<S>, request: Request| -> Response {
            let context = Arc::<Context>::from_ref(&state);
            let (parts, body) = request.into_parts();
            let ClientAddress(address) = ClientAddress::of(&parts, &context.trusted_proxies);
            let caller = Caller { user: None, address };
            match context.limits.spend(operation, caller) {
                Ok(()) => handler.clone().call(Request::from_parts(parts, body), state).await,
                Err(refused) => refused.into_response(),
            }
        };
        self.router = self.router.route(path, on(filter, limited));
        self
    }

    fn operation(&self, method: &Method, path: &str) -> Option<&'static Operation> {
        let is_it = |listed: &&Operation| listed.method == *method && listed.path == path;
        self.operations.iter().copied().find(is_it)
    }

    /// The table of operations, whether or not they are served.
    pub fn operations(&self) -> &[&'static Operation] {
        &self.operations
    }

    /// All served routes.
    pub fn table(&self) -> &[Route] {
        &self.table
    }

    /// The router that serves the routes.
    pub fn into_router(self) -> Router<S> {
        self.router
    }
}

fn filter(method: &Method) -> MethodFilter {
    match *method {
        Method::PUT => MethodFilter::PUT,
        Method::POST => MethodFilter::POST,
        Method::DELETE => MethodFilter::DELETE,
        _ => MethodFilter::GET,
    }
}

/// The arguments of a handler whose last one is a [`Ruma`] request, in axum's representation.
pub trait RumaArguments {
    /// The request.
    type Request: Endpoint;
}

macro_rules! ruma_arguments {
    ($($argument:ident),*) => {
        impl<M, R, F, $($argument),*> RumaArguments for (M, $($argument,)* Ruma<R, F>,)
        where
            R: Endpoint,
            F: Consistency<R::Authentication>,
        {
            type Request = R;
        }
    };
}

ruma_arguments!();
ruma_arguments!(A);
ruma_arguments!(A, B);
ruma_arguments!(A, B, C);
ruma_arguments!(A, B, C, D);
ruma_arguments!(A, B, C, D, E);
ruma_arguments!(A, B, C, D, E, G);
