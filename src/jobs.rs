//! Work that outlives its request, a file for each kind of job. A new one is also named in `app.rs`.

pub(crate) mod deactivate_account;
