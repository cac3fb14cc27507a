//! The whole server in process, as its clients see it.

mod authorization;
mod costs;
mod dice;
mod limits;
mod model;
mod two_nodes;
mod visibility;
