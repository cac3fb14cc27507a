//! Work that outlives its request, a file for each kind of job. A new kind is also registered in
//! `app.rs`.

pub(crate) mod deactivate_account;
