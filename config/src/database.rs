use std::{borrow::Cow, fmt, path::PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use crate::{parse, secret::HIDDEN};

/// The database, which stores all persistent data.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`. Without it, the SQLite file
    /// `stoa.db` in `data_dir` is used.
    ///
    /// All nodes of a deployment share one PostgreSQL. A relative path starts at the folder in
    /// which Stoa is started.
    #[schemars(example = "postgres://stoa:PASSWORD@localhost/stoa")]
    pub url: Option<DatabaseUrl>,

    /// The address of PostgreSQL itself, if `url` leads to a pooler that assigns connections per
    /// transaction.
    ///
    /// Migrations and notifications need a session of their own and use this address.
    #[schemars(example = "postgres://stoa:PASSWORD@localhost:5433/stoa")]
    pub direct_url: Option<PostgresUrl>,

    /// The maximum number of database connections that this node opens for requests. For SQLite,
    /// eight are enough, and no more are opened. For PostgreSQL, up to seven more are opened: for
    /// the log, for notifications from other nodes, and to detect when the host is gone.
    #[schemars(range(min = 2, max = 1000))]
    pub max_connections: u32,
}

impl Default for Database {
    fn default() -> Self {
        Self { url: None, direct_url: None, max_connections: 20 }
    }
}

impl Database {
    /// What is wrong with `direct_url` in combination with this `url`, if anything.
    pub(crate) fn conflict(&self) -> Option<&'static str> {
        let postgres = matches!(self.url, Some(DatabaseUrl::Postgres(_)));
        (self.direct_url.is_some() && !postgres)
            .then_some("only useful with a PostgreSQL in `database.url`; set that, or remove this")
    }
}

/// The kind and location of the database.
///
/// When displayed, it hides its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// The SQLite file at this path.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres(PostgresUrl),
}

impl DatabaseUrl {
    /// The complete URL including the password, for the driver.
    pub fn expose(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
            Self::Postgres(url) => url.expose().to_owned(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let Some(path) = text.strip_prefix("sqlite:") else {
            return PostgresUrl::parse(text).map(Self::Postgres);
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        // A database in memory would break the promise that acknowledged changes are durable, and
        // the parameters of the connection are not for the admin to choose.
        let on_disk = !path.is_empty() && !path.starts_with(':') && !path.contains('?');
        on_disk.then(|| Self::Sqlite(PathBuf::from(path)))
    }
}

impl JsonSchema for DatabaseUrl {
    fn schema_name() -> Cow<'static, str> {
        "DatabaseUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "writeOnly": true })
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(_) => f.write_str(&self.expose()),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "`sqlite:PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`";
        parse::text(deserializer, expected, Self::parse)
    }
}

/// The address of a PostgreSQL server, with the credentials.
///
/// When displayed, it hides its password.
#[derive(Clone, PartialEq, Eq, JsonSchema)]
#[schemars(extend("writeOnly" = true))]
pub struct PostgresUrl(#[schemars(with = "String")] Url);

impl PostgresUrl {
    /// The complete address including the password, for the driver.
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }

    fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        // With an unescaped `#` or `/` in the password, the text may still parse as a URL, but a
        // part of the password would be shown as fragment or path.
        let whole = url.fragment().is_none() && !url.path().contains('@');
        let postgres = matches!(url.scheme(), "postgres" | "postgresql");
        (postgres && whole && !url.cannot_be_a_base()).then_some(Self(url))
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        // Setting a password fails only without a host, and then there is no password to hide.
        if shown.password().is_some() && shown.set_password(Some(HIDDEN)).is_err() {
            return f.write_str(HIDDEN);
        }
        // Parameters can also contain a password, and are rarely worth showing.
        if shown.query().is_some() {
            shown.set_query(Some("..."));
        }
        shown.fmt(f)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
}

impl Serialize for PostgresUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PostgresUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "`postgres://USER:PASSWORD@HOST/DATABASE`";
        parse::text(deserializer, expected, Self::parse)
    }
}
