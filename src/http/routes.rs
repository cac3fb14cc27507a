//! Registering handlers at the paths that ruma knows for their requests.

use axum::{
    Router,
    extract::FromRequestParts,
    handler::Handler,
    routing::{MethodFilter, on},
};
use http::Method;
use ruma::api::{Metadata, path_builder::PathBuilder as _};

use super::extract::{Authenticate, Endpoint, Freshness, Ruma};
use crate::app::AppState;

/// A path and method that are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with its variables in braces.
    pub path: String,
    /// Whether nobody gets in without an access token.
    pub needs_token: bool,
}

/// The routes of the server, and a table of them.
#[derive(Debug, Default)]
pub struct Routes {
    router: Router<AppState>,
    table: Vec<Route>,
}

impl Routes {
    /// Serves a request that ruma knows, at every path under which ruma knows it. Which request it
    /// is follows from the handler's last argument.
    #[must_use]
    pub fn ruma<H, T>(self, handler: H) -> Self
    where
        H: Handler<T, AppState>,
        T: RumaArguments + 'static,
    {
        let paths = <T::Request as Metadata>::PATH_BUILDER;
        paths.all_paths().fold(self, |routes, path| routes.ruma_at(path, handler.clone()))
    }

    /// Serves a request that ruma knows at one more path.
    #[must_use]
    pub fn ruma_at<H, T>(mut self, path: &str, handler: H) -> Self
    where
        H: Handler<T, AppState>,
        T: RumaArguments + 'static,
    {
        self.table.push(Route {
            method: T::Request::METHOD,
            path: path.to_owned(),
            needs_token: <T::Request as Metadata>::Authentication::REQUIRED,
        });
        let filter = filter(&T::Request::METHOD);
        self.router = self.router.route(path, on(filter, handler));
        self
    }

    /// Serves a request that ruma does not know, or one that is answered without looking at it,
    /// and that needs no token.
    #[must_use]
    pub fn public<H, T>(mut self, method: Method, path: &str, handler: H) -> Self
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        let filter = filter(&method);
        self.table.push(Route { method, path: path.to_owned(), needs_token: false });
        self.router = self.router.route(path, on(filter, handler));
        self
    }

    /// All that is served.
    pub fn table(&self) -> &[Route] {
        &self.table
    }

    /// The router that serves it.
    pub fn into_router(self) -> Router<AppState> {
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

/// The arguments of a handler whose last one is a [`Ruma`] request, as axum puts them together.
pub trait RumaArguments {
    /// The request.
    type Request: Endpoint;
}

macro_rules! ruma_arguments {
    ($($argument:ident),*) => {
        impl<M, R, F, $($argument),*> RumaArguments for (M, $($argument,)* Ruma<R, F>,)
        where
            R: Endpoint,
            F: Freshness,
            $($argument: FromRequestParts<AppState>,)*
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
