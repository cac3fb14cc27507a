//! The whole server in process, as its clients see it.

mod audit;
mod authorization;
mod control;
mod costs;
mod costs_of_rooms;
mod deactivation;
mod dice;
mod large_answers;
mod limits;
mod model;
mod nulls;
mod silent_database;
mod totals;
mod two_nodes;
mod visibility;
