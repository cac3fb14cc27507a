use stoa_storage::{
    Conn,
    repo::{
        jobs::{self, JobProgress, JobRow, JobState, NewJob},
        leases,
    },
};
use stoa_testing::both_databases;

use super::{UNUSUAL, long_text, refused};

/// A minute, within which none of these tests takes longer.
const MINUTE: i64 = 60_000;

const JOB: NewJob<'static> = NewJob { kind: "a", parameters: "{}", actor: "@a:test", delay_ms: 0 };

async fn insert(conn: &mut Conn, job: NewJob<'_>) -> i64 {
    jobs::insert(conn, &job, i64::MAX).await.unwrap().unwrap()
}

async fn find(conn: &mut Conn, id: i64) -> JobRow {
    jobs::find(conn, id).await.unwrap().unwrap()
}

fn progress(done: i64, total: i64, text: &str) -> JobProgress {
    JobProgress { done, total, text: text.to_owned() }
}

both_databases! {
    async fn nothing(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        assert_eq!(jobs::find(&mut conn, 1).await.unwrap(), None);
        assert_eq!(jobs::newest(&mut conn, i64::MAX).await.unwrap(), []);
        assert_eq!(jobs::upcoming(&mut conn, &["a"], i64::MAX).await.unwrap(), []);
        assert_eq!(jobs::begin(&mut conn, 1).await.unwrap(), None);
        assert_eq!(jobs::advance(&mut conn, 1, &progress(1, 1, ""), None).await.unwrap(), None);
        jobs::retry(&mut conn, 1, 0, "error").await.unwrap();
        jobs::hasten(&mut conn, 1).await.unwrap();
        assert!(!jobs::finish(&mut conn, 1, JobState::Done, "").await.unwrap());
        assert!(!jobs::cancel(&mut conn, 1).await.unwrap());
        assert_eq!(jobs::count_by_state(&mut conn).await.unwrap(), []);
        assert_eq!(jobs::prune(&mut conn, 0).await.unwrap(), 0);
    }

    async fn the_unfinished_jobs_of_an_actor_are_limited_by_kind(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let first = jobs::insert(&mut conn, &JOB, 1).await.unwrap().unwrap();
        assert_eq!(jobs::insert(&mut conn, &JOB, 1).await.unwrap(), None);
        assert_eq!(jobs::insert(&mut conn, &JOB, 0).await.unwrap(), None);
        assert!(jobs::insert(&mut conn, &NewJob { kind: "b", ..JOB }, 1).await.unwrap().is_some());
        let of_another = NewJob { actor: "@b:test", ..JOB };
        assert!(jobs::insert(&mut conn, &of_another, 1).await.unwrap().is_some());
        assert!(jobs::finish(&mut conn, first, JobState::Done, "").await.unwrap());
        assert!(jobs::insert(&mut conn, &JOB, 1).await.unwrap().is_some());
    }

    async fn a_job_goes_from_its_beginning_to_its_end(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let other = insert(&mut conn, JOB).await;
        let id = insert(&mut conn, JOB).await;
        let new = find(&mut conn, id).await;
        let JobRow { kind, parameters, actor, created_ms, next_attempt_ms, .. } = &new;
        assert_eq!((kind.as_str(), parameters.as_str(), actor.as_str()), ("a", "{}", "@a:test"));
        assert_eq!((new.state, new.attempts, created_ms), (JobState::Waiting, 0, next_attempt_ms));
        assert_eq!((&new.progress, &new.cursor), (&progress(0, 0, ""), &None));
        assert_eq!((new.cancel_requested, new.finished_ms, new.error), (false, None, None));

        let begun = jobs::begin(&mut conn, id).await.unwrap().unwrap();
        assert_eq!((begun.state, begun.attempts), (JobState::Running, 1));
        let begun = jobs::begin(&mut conn, id).await.unwrap().unwrap();
        assert_eq!(begun.attempts, 2, "by the next node");
        for (step, cursor, done, attempts) in [
            (progress(5, 9, "five"), Some("c"), 5, 1),
            // The amount done never shrinks.
            (progress(3, 8, "three"), None, 5, 1),
            (progress(i64::MAX, i64::MAX, "all"), Some(""), i64::MAX, 1),
        ] {
            let row = jobs::advance(&mut conn, id, &step, cursor).await.unwrap().unwrap();
            assert_eq!(row.progress, JobProgress { done, ..step });
            assert_eq!((row.cursor.as_deref(), row.attempts), (cursor, attempts));
        }
        jobs::retry(&mut conn, id, MINUTE, "it's \"broken\"").await.unwrap();
        let waits = find(&mut conn, id).await;
        assert_eq!((waits.state, waits.cursor), (JobState::Waiting, None));
        assert_eq!(waits.error.as_deref(), Some("it's \"broken\""));
        assert_eq!(jobs::begin(&mut conn, id).await.unwrap(), None, "not before a minute");

        assert!(jobs::finish(&mut conn, id, JobState::Failed, "why").await.unwrap());
        assert!(!jobs::finish(&mut conn, id, JobState::Done, "").await.unwrap(), "twice");
        let failed = find(&mut conn, id).await;
        assert_eq!((failed.state, failed.error.as_deref()), (JobState::Failed, Some("why")));
        assert_eq!((failed.progress.text.as_str(), failed.finished_ms.is_some()), ("all", true));
        // A job that has ended does not change any more.
        assert_eq!(jobs::begin(&mut conn, id).await.unwrap(), None);
        assert_eq!(jobs::advance(&mut conn, id, &progress(1, 1, ""), None).await.unwrap(), None);
        assert!(!jobs::cancel(&mut conn, id).await.unwrap());
        jobs::retry(&mut conn, id, 0, "again").await.unwrap();
        assert_eq!(find(&mut conn, id).await, failed);

        assert!(jobs::finish(&mut conn, other, JobState::Done, "all of it").await.unwrap());
        let done = find(&mut conn, other).await;
        assert_eq!((done.state, done.progress.text.as_str()), (JobState::Done, "all of it"));
    }

    async fn a_job_is_cancelled_at_once_or_between_two_steps(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let (waits, runs) = (insert(&mut conn, JOB).await, insert(&mut conn, JOB).await);
        jobs::begin(&mut conn, runs).await.unwrap().unwrap();
        for id in [waits, runs] {
            assert!(jobs::cancel(&mut conn, id).await.unwrap());
        }
        let cancelled = find(&mut conn, waits).await;
        assert_eq!(cancelled.state, JobState::Cancelled);
        assert!(cancelled.cancel_requested && cancelled.finished_ms.is_some());
        let stops = find(&mut conn, runs).await;
        assert_eq!((stops.state, stops.finished_ms), (JobState::Running, None));
        assert!(stops.cancel_requested);
        assert!(jobs::cancel(&mut conn, runs).await.unwrap(), "it has not ended yet");
        assert!(!jobs::cancel(&mut conn, waits).await.unwrap(), "it has ended");
    }

    async fn a_failed_or_cancelled_job_can_start_over(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let (cancelled, failed) = (insert(&mut conn, JOB).await, insert(&mut conn, JOB).await);
        assert!(!jobs::restart(&mut conn, cancelled).await.unwrap(), "it waits already");
        jobs::cancel(&mut conn, cancelled).await.unwrap();
        jobs::begin(&mut conn, failed).await.unwrap().unwrap();
        let on = progress(3, 9, "three");
        jobs::advance(&mut conn, failed, &on, Some("there")).await.unwrap();
        assert!(!jobs::restart(&mut conn, failed).await.unwrap(), "it runs");
        jobs::finish(&mut conn, failed, JobState::Failed, "why").await.unwrap();
        for id in [cancelled, failed] {
            assert!(jobs::restart(&mut conn, id).await.unwrap());
            let begun = jobs::begin(&mut conn, id).await.unwrap().unwrap();
            assert_eq!((begun.cursor, begun.progress, begun.attempts), (None, progress(0, 0, ""), 1));
            assert_eq!((begun.cancel_requested, begun.finished_ms, begun.error), (false, None, None));
        }
        jobs::finish(&mut conn, failed, JobState::Done, "").await.unwrap();
        assert!(!jobs::restart(&mut conn, failed).await.unwrap(), "it is done");
        assert!(!jobs::restart(&mut conn, 99).await.unwrap(), "there is none");
    }

    async fn the_newest_and_the_upcoming_jobs(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let later = insert(&mut conn, NewJob { delay_ms: MINUTE, ..JOB }).await;
        let soon = insert(&mut conn, JOB).await;
        let other_kind = insert(&mut conn, NewJob { kind: "b", ..JOB }).await;
        let held = insert(&mut conn, JOB).await;
        let ended = insert(&mut conn, JOB).await;
        jobs::finish(&mut conn, ended, JobState::Done, "").await.unwrap();
        leases::acquire(&mut conn, jobs::LEASE, held, 1, 2 * MINUTE).await.unwrap().unwrap();

        for (limit, expected) in [
            (0, vec![]), (2, vec![ended, held]),
            (i64::MAX, vec![ended, held, other_kind, soon, later]),
        ] {
            let found = jobs::newest(&mut conn, limit).await.unwrap();
            assert_eq!(found.iter().map(|job| job.id).collect::<Vec<_>>(), expected);
        }
        for (kinds, limit, expected) in [
            (&["a", "a"][..], 9, vec![soon, later, held]), (&["a", "b"], 2, vec![soon, other_kind]),
            (&["b"], 9, vec![other_kind]), (&["c"], 9, vec![]), (&[], 9, vec![]), (&["a"], 0, vec![]),
        ] {
            let found = jobs::upcoming(&mut conn, kinds, limit).await.unwrap();
            assert_eq!(found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), expected, "{kinds:?}");
        }
        let waits = jobs::upcoming(&mut conn, &["a"], 9).await.unwrap();
        let bounds = [(-MINUTE, 0), (0, MINUTE), (MINUTE, 2 * MINUTE)];
        for ((_, wait), (least, most)) in waits.into_iter().zip(bounds) {
            assert!(least < wait && wait <= most, "{wait}");
        }
        jobs::hasten(&mut conn, later).await.unwrap();
        let found = jobs::upcoming(&mut conn, &["a"], 1).await.unwrap();
        assert_eq!(found[0].0, later, "it was asked for first");

        let mut counts = jobs::count_by_state(&mut conn).await.unwrap();
        counts.sort_by_key(|(state, _)| state.as_str());
        assert_eq!(counts, [(JobState::Done, 1), (JobState::Waiting, 4)]);
        assert_eq!(jobs::prune(&mut conn, MINUTE).await.unwrap(), 0);
        assert_eq!(jobs::prune(&mut conn, -MINUTE).await.unwrap(), 1);
        assert_eq!(jobs::find(&mut conn, ended).await.unwrap(), None);
    }

    async fn unusual_texts_and_numbers(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let long = long_text();
        for text in UNUSUAL {
            let job = NewJob { kind: text, parameters: &long, actor: text, delay_ms: i64::MAX };
            let id = insert(&mut conn, job).await;
            let found = find(&mut conn, id).await;
            assert_eq!((found.kind.as_str(), found.parameters.as_str()), (text, long.as_str()));
            assert_eq!((found.actor.as_str(), found.next_attempt_ms), (text, i64::MAX));
            let upcoming = jobs::upcoming(&mut conn, &[text], 9).await.unwrap();
            assert_eq!(upcoming.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [id]);
            let step = progress(i64::MIN, i64::MAX, text);
            let row = jobs::advance(&mut conn, id, &step, Some(text)).await.unwrap().unwrap();
            assert_eq!((row.progress.done, row.cursor.as_deref()), (0, Some(text)));
            assert!(jobs::finish(&mut conn, id, JobState::Failed, text).await.unwrap());
            assert_eq!(find(&mut conn, id).await.error.as_deref(), Some(text));
        }
        refused(jobs::insert(&mut conn, &NewJob { kind: "a\0b", ..JOB }, 9).await);
        refused(jobs::upcoming(&mut conn, &["a\0b"], 9).await);
        refused(jobs::advance(&mut conn, 1, &progress(1, 1, "a\0b"), None).await);
        refused(jobs::retry(&mut conn, 1, 1, "a\0b").await);
        refused(jobs::finish(&mut conn, 1, JobState::Failed, "a\0b").await);
    }
}
