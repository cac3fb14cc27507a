//! Jobs: they finish whatever happens to their node, or say why not.

use std::{
    env,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use stoa_base::{Actor, Clock};
use stoa_cluster::{
    EnqueueError, Job, JobError, Jobs, JobsOptions, Leases, RunningJob, Step, StepFuture,
};
use stoa_storage::{
    Options, Store,
    repo::jobs::{JobProgress, JobRow, JobState},
};
use stoa_testing::{
    Backend, SecondProcess, TestDatabase, both_databases, run_on, second_process::say, surgery,
};
use tokio::{sync::Semaphore, task::JoinHandle, time::sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::soon;

const KIND: &str = "count";
const NOW: Duration = Duration::ZERO;
const TTL: Duration = Duration::from_millis(1_500);

type Action = dyn Fn(&RunningJob) -> Result<(), JobError> + Send + Sync;

/// A job that counts to five, one number per step, and can be paused or made to fail.
struct Count {
    kind: &'static str,
    /// The numbers counted so far.
    counted: Mutex<Vec<i64>>,
    /// How many steps are allowed.
    allowed: Semaphore,
    action: Box<Action>,
}

impl std::fmt::Debug for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Count").finish_non_exhaustive()
    }
}

impl Count {
    fn new(allowed: usize) -> Arc<Self> {
        Self::that(KIND, allowed, |_| Ok(()))
    }

    fn that(
        kind: &'static str,
        allowed: usize,
        action: impl Fn(&RunningJob) -> Result<(), JobError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let allowed = Semaphore::new(allowed);
        Arc::new(Self { kind, counted: Mutex::default(), allowed, action: Box::new(action) })
    }

    fn counted(&self) -> Vec<i64> {
        self.counted.lock().unwrap().clone()
    }
}

impl Job for Count {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn step<'a>(&'a self, job: &'a RunningJob) -> StepFuture<'a> {
        Box::pin(async move {
            self.allowed.acquire().await.unwrap().forget();
            (self.action)(job)?;
            let next = job.row.cursor.as_deref().map_or(0, |cursor| cursor.parse().unwrap()) + 1;
            self.counted.lock().unwrap().push(next);
            if next == 5 {
                return Ok(Step::Done("counted".to_owned()));
            }
            let progress = JobProgress { done: next, total: 5, text: format!("{next} of 5") };
            Ok(Step::More { progress, cursor: Some(next.to_string()) })
        })
    }
}

/// A node that runs jobs of this kind.
struct Node {
    jobs: Jobs,
    running: AbortOnDropHandle<()>,
}

fn options() -> JobsOptions {
    JobsOptions {
        interval: Duration::from_millis(50),
        ttl: TTL,
        attempts: 3,
        pause: Duration::from_millis(20),
        longest_pause: Duration::from_millis(30),
        ..JobsOptions::default()
    }
}

fn on(store: Store, incarnation: i64, job: Arc<dyn Job>) -> Node {
    let leases = Leases::new(store.clone(), Clock::system(), incarnation);
    let jobs = Jobs::new(store, leases, options());
    let running: JoinHandle<()> = tokio::spawn(jobs.clone().run(vec![job]));
    Node { jobs, running: AbortOnDropHandle::new(running) }
}

async fn node(db: &TestDatabase, incarnation: i64, job: &Arc<Count>) -> Node {
    on(db.store().await, incarnation, Arc::clone(job) as _)
}

fn alice() -> Actor {
    Actor::user("@alice:test".try_into().unwrap())
}

async fn enqueue(node: &Node, kind: &str) -> i64 {
    node.jobs.enqueue(&alice(), kind, "{}", NOW).await.unwrap()
}

/// Waits until the job satisfies the condition.
async fn until(jobs: &Jobs, id: i64, is_wanted: impl Fn(&JobRow) -> bool) -> JobRow {
    soon(async {
        loop {
            let row = jobs.find(id).await.unwrap().unwrap();
            if is_wanted(&row) {
                return row;
            }
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

async fn ended(node: &Node, id: i64) -> JobRow {
    until(&node.jobs, id, |row| row.finished_ms.is_some()).await
}

both_databases! {
    async fn a_job_finishes_and_reports_its_progress(db: TestDatabase) {
        let job = Count::new(2);
        let node = node(db, 1, &job).await;
        let id = enqueue(&node, KIND).await;
        let row = until(&node.jobs, id, |row| row.progress.done == 2).await;
        assert_eq!(row.state, JobState::Running);
        assert_eq!((row.progress.total, &*row.progress.text), (5, "2 of 5"));
        assert_eq!((&*row.actor, &*row.parameters), ("@alice:test", "{}"));
        job.allowed.add_permits(3);
        let row = ended(&node, id).await;
        assert_eq!((row.state, &*row.progress.text), (JobState::Done, "counted"));
        assert_eq!(job.counted(), [1, 2, 3, 4, 5]);
        assert!(row.finished_ms.unwrap() >= row.created_ms);
        assert_eq!(node.jobs.list().await.unwrap(), [row]);
    }

    async fn a_job_with_a_delay_waits_until_it_is_hastened(db: TestDatabase) {
        let job = Count::new(100);
        let node = node(db, 1, &job).await;
        let delay = Duration::from_secs(3_600);
        let id = node.jobs.enqueue(&alice(), KIND, "{}", delay).await.unwrap();
        let short = node.jobs.enqueue(&alice(), KIND, "{}", Duration::from_millis(300)).await.unwrap();
        ended(&node, short).await;
        assert_eq!(node.jobs.find(id).await.unwrap().unwrap().state, JobState::Waiting);
        node.jobs.hasten(id).await.unwrap();
        assert_eq!(ended(&node, id).await.state, JobState::Done);
    }

    async fn a_job_is_cancelled_between_steps_and_says_so(db: TestDatabase) {
        let job = Count::new(2);
        let node = node(db, 1, &job).await;
        let id = enqueue(&node, KIND).await;
        until(&node.jobs, id, |row| row.progress.done == 2).await;
        assert!(node.jobs.cancel(id).await.unwrap());
        assert!(node.jobs.find(id).await.unwrap().unwrap().cancel_requested);
        job.allowed.add_permits(100);
        let row = ended(&node, id).await;
        assert_eq!((row.state, &*row.progress.text), (JobState::Cancelled, "3 of 5"));
        assert_eq!(job.counted(), [1, 2, 3]);
        assert!(!node.jobs.cancel(id).await.unwrap(), "it has ended");

        let delay = Duration::from_secs(3_600);
        let waiting = node.jobs.enqueue(&alice(), KIND, "{}", delay).await.unwrap();
        assert!(node.jobs.cancel(waiting).await.unwrap());
        assert_eq!(ended(&node, waiting).await.state, JobState::Cancelled);
    }

    async fn a_job_that_fails_is_retried_from_its_beginning(db: TestDatabase) {
        let failures = AtomicI64::new(0);
        let job = Count::that(KIND, 100, move |job| {
            if job.row.cursor.as_deref() == Some("2") && failures.fetch_add(1, Ordering::Relaxed) < 2 {
                return Err(JobError::later("not now"));
            }
            Ok(())
        });
        let node = node(db, 1, &job).await;
        let id = enqueue(&node, KIND).await;
        let row = ended(&node, id).await;
        assert_eq!((row.state, row.error.as_deref()), (JobState::Done, Some("not now")));
        assert_eq!(job.counted(), [1, 2, 1, 2, 1, 2, 3, 4, 5]);
    }

    async fn a_job_that_always_fails_is_given_up(db: TestDatabase) {
        let attempts = Arc::new(AtomicI64::new(0));
        let counted = Arc::clone(&attempts);
        let job = Count::that(KIND, 100, move |job| {
            if job.row.cursor.is_none() {
                counted.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            Err(JobError::later("never"))
        });
        let node = node(db, 1, &job).await;
        let id = enqueue(&node, KIND).await;
        let row = ended(&node, id).await;
        assert_eq!((row.state, row.error.as_deref()), (JobState::Failed, Some("never")));
        assert_eq!(attempts.load(Ordering::Relaxed), 3);
        // It came as far as it did the first time, which is no progress.
        assert_eq!((row.attempts, row.progress.done), (3, 1));
    }

    async fn a_job_that_cannot_succeed_is_given_up_at_once(db: TestDatabase) {
        let job = Count::that(KIND, 100, |_| Err(JobError::never("there is no such user")));
        let node = node(db, 1, &job).await;
        let id = enqueue(&node, KIND).await;
        let row = ended(&node, id).await;
        assert_eq!((row.state, row.attempts), (JobState::Failed, 1));
        assert_eq!(row.error.as_deref(), Some("there is no such user"));
    }

    async fn a_job_that_panics_is_given_up_and_harms_no_other(db: TestDatabase) {
        let job = Count::that(KIND, 100, |job| {
            assert_ne!(job.row.parameters, "\"bad\"", "on purpose");
            Ok(())
        });
        let node = node(db, 1, &job).await;
        let bad = node.jobs.enqueue(&alice(), KIND, "\"bad\"", NOW).await.unwrap();
        let row = ended(&node, bad).await;
        assert_eq!((row.state, row.attempts), (JobState::Failed, 3));
        assert_eq!(row.error.as_deref(), Some("a step panicked"));
        let id = enqueue(&node, KIND).await;
        assert_eq!(ended(&node, id).await.state, JobState::Done);
        assert!(!node.running.is_finished());
    }

    async fn a_job_of_a_newer_kind_is_left_alone(db: TestDatabase) {
        let job = Count::new(100);
        let old = node(db, 1, &job).await;
        let unknown = enqueue(&old, "newer").await;
        let known = enqueue(&old, KIND).await;
        ended(&old, known).await;
        let row = old.jobs.find(unknown).await.unwrap().unwrap();
        assert_eq!((row.state, row.attempts), (JobState::Waiting, 0));
        let new = node(db, 2, &Count::that("newer", 100, |_| Ok(()))).await;
        assert_eq!(ended(&new, unknown).await.state, JobState::Done);
    }

    async fn a_user_can_have_only_so_many_jobs_of_a_kind(db: TestDatabase) {
        let node = node(db, 1, &Count::new(100)).await;
        for _ in 0..10 {
            enqueue(&node, "unknown").await;
        }
        let refused = node.jobs.enqueue(&alice(), "unknown", "{}", NOW).await;
        assert!(matches!(refused, Err(EnqueueError::TooMany)));
        let large = "x".repeat(65_537);
        let refused = node.jobs.enqueue(&alice(), KIND, &large, NOW).await;
        assert!(matches!(refused, Err(EnqueueError::TooLarge)));
        // A job of another kind, and one of another user.
        let id = enqueue(&node, KIND).await;
        let bob = Actor::user("@bob:test".try_into().unwrap());
        node.jobs.enqueue(&bob, "unknown", "{}", NOW).await.unwrap();
        // Jobs that have ended do not count.
        ended(&node, id).await;
        let waiting = node.jobs.list().await.unwrap();
        let own = waiting.iter().find(|row| row.kind == "unknown" && row.actor == "@alice:test");
        node.jobs.cancel(own.unwrap().id).await.unwrap();
        enqueue(&node, "unknown").await;
    }

    async fn jobs_that_ended_long_ago_are_forgotten(db: TestDatabase) {
        let node = node(db, 1, &Count::new(100)).await;
        let (old, new) = (enqueue(&node, KIND).await, enqueue(&node, KIND).await);
        ended(&node, old).await;
        ended(&node, new).await;
        let store = db.store().await;
        surgery::end_job_long_ago(&store, old).await;
        node.jobs.housekeep().await.unwrap();
        assert_eq!(node.jobs.find(old).await.unwrap(), None);
        assert!(node.jobs.find(new).await.unwrap().is_some());
    }

    async fn a_node_that_stops_leaves_its_jobs_to_others_at_once(db: TestDatabase) {
        let first = Count::new(2);
        let stopping = node(db, 1, &first).await;
        let id = enqueue(&stopping, KIND).await;
        until(&stopping.jobs, id, |row| row.progress.done == 2).await;
        let second = Count::new(100);
        let other = node(db, 2, &second).await;
        let began = tokio::time::Instant::now();
        drop(stopping);
        // On SQLite this is the next run of the same node.
        let row = soon(async {
            loop {
                other.jobs.hasten(id).await.unwrap();
                let row = other.jobs.find(id).await.unwrap().unwrap();
                if row.finished_ms.is_some() {
                    return row;
                }
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        assert!(began.elapsed() < TTL, "{:?}", began.elapsed());
        assert_eq!(row.state, JobState::Done);
        assert_eq!((first.counted(), second.counted()), (vec![1, 2], vec![3, 4, 5]));
    }
}

#[test]
fn two_nodes_share_jobs_and_run_each_once() {
    run_on(Backend::Postgres, async |db| {
        let job = Count::new(1_000);
        let nodes = [node(db, 1, &job).await, node(db, 2, &job).await];
        for number in 0..20 {
            let bob = format!("@bob{number}:test");
            let bob = Actor::user(bob.as_str().try_into().unwrap());
            nodes[number % 2].jobs.enqueue(&bob, KIND, "{}", NOW).await.unwrap();
        }
        for row in nodes[0].jobs.list().await.unwrap() {
            assert_eq!(ended(&nodes[1], row.id).await.state, JobState::Done);
        }
        let mut counted = job.counted();
        counted.sort_unstable();
        let each: Vec<i64> = (1..=5).flat_map(|number| [number; 20]).collect();
        assert_eq!(counted, each);
    });
}

/// Runs the job on a second node up to its second step, in which the test then stops that node.
async fn half_done(db: &TestDatabase) -> (SecondProcess, Node, i64) {
    // This node knows no jobs, and so leaves the job to the other.
    let here = node(db, 1, &Count::that("other", 0, |_| Ok(()))).await;
    let id = enqueue(&here, KIND).await;
    let process = SecondProcess::start("jobs::runner", &[("STOA_JOBS_URL", db.url())]);
    process.wait_for("step 2");
    (process, here, id)
}

#[test]
fn another_node_continues_the_jobs_of_one_that_was_killed() {
    run_on(Backend::Postgres, async |db| {
        let (process, here, id) = half_done(db).await;
        process.kill();
        let row = here.jobs.find(id).await.unwrap().unwrap();
        assert_eq!((row.state, row.progress.done), (JobState::Running, 1));
        let job = Count::new(100);
        let next = node(db, 3, &job).await;
        assert_eq!(ended(&next, id).await.state, JobState::Done);
        assert_eq!(job.counted(), [2, 3, 4, 5]);
    });
}

#[test]
fn a_node_that_was_frozen_in_the_middle_of_a_job_writes_nothing_more_of_it() {
    run_on(Backend::Postgres, async |db| {
        let (process, here, id) = half_done(db).await;
        process.freeze();
        let job = Count::new(1);
        let next = node(db, 3, &job).await;
        until(&here.jobs, id, |row| row.progress.done == 2).await;
        process.wake();
        // The job would finish by itself.
        let said = process.finish();
        assert!(!said.contains(&"step 3".to_owned()), "{said:?}");
        let row = here.jobs.find(id).await.unwrap().unwrap();
        assert_eq!((row.state, row.progress.done), (JobState::Running, 2));
        job.allowed.add_permits(100);
        assert_eq!(ended(&next, id).await.state, JobState::Done);
        assert_eq!(job.counted(), [2, 3, 4, 5]);
    });
}

#[test]
fn a_job_that_keeps_crashing_its_node_is_given_up() {
    run_on(Backend::Postgres, async |db| {
        let store = db.store().await;
        let here = node(db, 1, &Count::that("other", 0, |_| Ok(()))).await;
        let id = enqueue(&here, KIND).await;
        surgery::begin_jobs(&store, 3).await;
        let job = Count::new(100);
        let next = node(db, 3, &job).await;
        let row = ended(&next, id).await;
        assert_eq!(row.state, JobState::Failed);
        assert!(job.counted().is_empty());
    });
}

#[test]
#[ignore = "tests that kill or freeze a node run it in a process of its own"]
fn runner() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let url = env::var("STOA_JOBS_URL").unwrap();
        let options = Options { url, direct_url: None, max_connections: 4 };
        let store = Store::open(&options).await.unwrap();
        let job = Count::that(KIND, 100, |job| {
            let step = job.row.progress.done + 1;
            say(&format!("step {step}"));
            if step == 2 {
                // Long enough to be frozen or killed.
                std::thread::sleep(Duration::from_secs(1));
            }
            Ok(())
        });
        let node = on(store, 2, job);
        sleep(5 * TTL).await;
        drop(node);
    });
}
