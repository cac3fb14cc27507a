//! Every route that needs a token refuses requests without one and with a wrong one. The routes
//! come from the router's own table, so none can be forgotten here.

use stoa::router;
use stoa_testing::{TestServer, both_databases};

both_databases! {
    async fn routes_that_need_a_token_refuse_requests_without_one(db: TestDatabase) {
        let server = TestServer::start(db).await;
        let nobody = server.client();
        let impostor = nobody.with_token("made up");
        let routes = router::routes();
        let guarded: Vec<_> = routes.table().iter().filter(|route| route.needs_token).collect();
        assert!(guarded.len() > 10, "the table is as good as empty");
        for route in guarded {
            // The values of the variables do not matter: no request gets that far.
            let path = route.path.replace(['{', '}'], "");
            let send = |client: &stoa_testing::TestClient| {
                client.request(route.method.clone(), &path).body("{}").send()
            };
            send(&nobody).await.refused(401, "M_MISSING_TOKEN");
            send(&impostor).await.refused(401, "M_UNKNOWN_TOKEN");
        }
    }
}

/// The routes open to everybody, with the paths of the current version.
const OPEN: &[&str] = &[
    "GET /.well-known/matrix/client",
    "GET /.well-known/matrix/server",
    "GET /_matrix/client/v3/directory/list/room/{room_id}",
    "GET /_matrix/client/v3/directory/room/{room_alias}",
    "GET /_matrix/client/v3/login",
    "GET /_matrix/client/v3/profile/{user_id}",
    "GET /_matrix/client/v3/profile/{user_id}/{field}",
    "GET /_matrix/client/v3/publicRooms",
    "GET /_matrix/client/v3/register/available",
    "GET /_matrix/client/versions",
    "GET /_matrix/federation/v1/version",
    "GET /_synapse/admin/v1/register",
    "GET /health",
    "GET /ready",
    // These two check for a token themselves, because the specification allows them without one.
    "POST /_matrix/client/v3/account/deactivate",
    "POST /_matrix/client/v3/account/password",
    "POST /_matrix/client/v3/login",
    "POST /_matrix/client/v3/refresh",
    "POST /_matrix/client/v3/register",
    "POST /_synapse/admin/v1/register",
];

#[test]
fn only_the_listed_routes_are_open_to_everybody() {
    let routes = router::routes();
    let open = routes.table().iter().filter(|route| !route.needs_token);
    let mut open: Vec<_> = open.map(|route| format!("{} {}", route.method, route.path)).collect();
    open.retain(|route| !route.contains("/r0/") && !route.contains("/unstable/"));
    open.sort();
    assert_eq!(open, OPEN);
}
