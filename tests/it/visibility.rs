//! Visibility: every operation that returns events shows each user exactly the events that one
//! oracle allows, in rooms in which memberships and the history visibility change at random.
//!
//! `STOA_TEST_SEED` selects other histories, `STOA_TEST_HISTORIES` their number.

mod operations;
mod oracle;
mod scene;

use std::collections::BTreeSet;

use stoa::router;
use stoa_testing::{TestDatabase, TestServer, both_databases};

use self::{
    operations::{SHOW_EVENTS, SHOW_NONE},
    scene::Scene,
};
use crate::dice::{Dice, number};

/// How much happens in a room.
const STEPS: usize = 32;

both_databases! {
    async fn every_reader_is_shown_exactly_what_they_may_see(db: TestDatabase) {
        let seed = number("STOA_TEST_SEED", 103);
        let histories = number("STOA_TEST_HISTORIES", 3);
        let mut seen = BTreeSet::new();
        for seed in seed..seed + histories {
            seen.extend(play(db, seed).await);
        }
        // What was tried: every visibility with every membership, and whether an event was shown.
        let of_members = ["joined", "invited", "shared", "world_readable"].map(|visibility| {
            seen.contains(&(visibility.to_owned(), "join".to_owned(), true))
        });
        assert_eq!(of_members, [true; 4], "{seen:?}");
        assert!(seen.len() >= 20, "too little has happened: {seen:?}");
    }
}

/// A visibility, a membership, and whether an event was shown.
type Tried = (String, String, bool);

async fn play(db: &TestDatabase, seed: u64) -> BTreeSet<Tried> {
    let database = TestDatabase::create(db.backend()).await.unwrap();
    let server = TestServer::start(&database).await;
    let scene = Scene::play(&server, &Dice::new(seed), STEPS).await;
    let course = format!("STOA_TEST_SEED={seed}: {:?}", scene.course);
    for reader in &scene.readers {
        for (route, check) in SHOW_EVENTS {
            println!("{route} for {}, {course}", reader.id());
            check(&scene, reader).await;
        }
    }
    let history = &scene.history;
    let mut tried = BTreeSet::new();
    for reader in scene.readers.iter().map(scene::Reader::id) {
        for at in 0..history.events.len() {
            let membership = history.membership(reader, at + 1);
            tried.insert((history.visibility(at), membership, history.may_see(reader, at)));
        }
    }
    tried
}

/// A route without its version and the names of its variables; `None` for old versions, which have
/// the same handler as the current one.
fn plain(method: &str, path: &str) -> Option<String> {
    let path = path.strip_prefix("/_matrix/client").unwrap_or(path);
    if path.starts_with("/r0/") || path.starts_with("/unstable/") {
        return None;
    }
    let path = path.strip_prefix("/v1").or_else(|| path.strip_prefix("/v3")).unwrap_or(path);
    let segments = path.trim_end_matches('/').split('/');
    let segments: Vec<&str> =
        segments.map(|segment| if segment.starts_with('{') { "{}" } else { segment }).collect();
    Some(format!("{method} {}", segments.join("/")))
}

#[test]
fn no_operation_that_could_return_events_is_forgotten() {
    let routes = router::routes();
    let asks = |method: &str| ["GET", "POST"].contains(&method);
    let served = routes.table().iter().filter(|route| asks(route.method.as_str()));
    let served: BTreeSet<String> =
        served.filter_map(|route| plain(route.method.as_str(), &route.path)).collect();
    let checked = SHOW_EVENTS.iter().map(|(route, _)| *route);
    let known: BTreeSet<String> =
        checked.chain(SHOW_NONE.iter().copied()).map(str::to_owned).collect();
    assert_eq!(served, known);
}
