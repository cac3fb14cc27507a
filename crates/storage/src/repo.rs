//! Repositories: one module for each family of tables.
