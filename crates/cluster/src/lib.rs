//! What makes many nodes one server: the tailer that follows the log and keeps this node's caches
//! current, the shared read of the head by which a request sees everything acknowledged before it
//! began, the wake-ups for readers that wait for news, the count of running nodes, the leases for
//! work that only one node may do, and the jobs that outlive their node.

mod freshness;
mod jobs;
mod leases;
mod log_cache;
mod log_value;
mod nodes;
mod single_flight;
mod tailer;
mod waiters;

pub use self::{
    freshness::Freshness,
    jobs::{EnqueueError, Job, JobError, Jobs, JobsOptions, RunningJob, Step, StepFuture},
    leases::{Lease, Leases},
    log_cache::{LogCache, Ticket},
    log_value::{LogValue, ValueTicket},
    nodes::Nodes,
    single_flight::{Claim, Flight, SingleFlight},
    tailer::{Batch, CacheKeeper, Tailer, TailerOptions},
    waiters::{Wait, Waiters},
};
