//! The meaning of valid configurations.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeSet, fs, path::Path};

use ruma::RoomVersionId;
use stoa_config::{Config, DatabaseUrl, LogFormat};

const NONE: [(&str, &str); 0] = [];

fn load<const N: usize>(text: &str, variables: [(&str, &str); N]) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stoa.toml");
    fs::write(&file, text).unwrap();
    Config::load(Some(&file), variables).unwrap()
}

fn shown(config: &Config) -> String {
    format!("{config:#?}")
}

#[test]
fn nothing_set() {
    let config = Config::load(None, NONE).unwrap();
    assert_eq!(config.server_name, "localhost");
    assert_eq!(config.data_dir, Path::new("./stoa-data"));
    assert_eq!(config.listen.client, ["127.0.0.1:8008".parse().unwrap()]);
    assert_eq!(config.database_url(), DatabaseUrl::Sqlite("./stoa-data/stoa.db".into()));
    assert_eq!(config.rooms.default_version, RoomVersionId::V12);
    assert!(!config.registration.enabled);
    assert!(config.registration.shared_secret.is_none());
    assert!(config.limits.enabled);
    assert_eq!(shown(&config), shown(&Config::default()));
}

#[test]
fn the_unchanged_sample_sets_nothing() {
    assert_eq!(shown(&load(&stoa_config::sample_toml(), NONE)), shown(&Config::default()));
}

/// Every line of the sample is valid without its `#`. Lines that name the file of a secret are left
/// out, since the sample also has the secret itself.
#[test]
fn the_sample_with_every_setting() {
    let sample = stoa_config::sample_toml();
    let uncommented: Vec<_> = sample
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') && !setting.contains("_path = ") => setting,
            _ => line,
        })
        .collect();
    let config = load(&uncommented.join("\n"), NONE);
    assert_eq!(config.registration.shared_secret.unwrap().expose(), "a long random string");
    assert_eq!(config.limits.messages, Config::default().limits.messages);
}

#[test]
fn a_file_with_sections_and_dotted_keys() {
    let config = load(
        "server_name = 'example.com'\n\
         listen.client = ['[::]:8008', '0.0.0.0:8009']\n\
         listen.metrics = []\n\
         [limits.logins]\n\
         burst = 3\n\
         [log]\n\
         format = 'json'\n\
         filter = 'info,stoa_sync::v3=debug'\n",
        NONE,
    );
    assert_eq!(config.server_name, "example.com");
    let client = ["[::]:8008".parse().unwrap(), "0.0.0.0:8009".parse().unwrap()];
    assert_eq!(config.listen.client, client);
    assert_eq!(config.listen.metrics, []);
    assert_eq!(config.limits.logins.burst.get(), 3);
    assert_eq!(config.limits.logins.per_minute, Config::default().limits.logins.per_minute);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.log.filter.as_str(), "info,stoa_sync::v3=debug");
}

#[test]
fn a_variable_overrides_the_file() {
    let file = "server_name = 'a.example'\ndata_dir = 'a'\n";
    let config = load(file, [("STOA_SERVER_NAME", "b.example")]);
    assert_eq!(config.server_name, "b.example");
    assert_eq!(config.data_dir, Path::new("a"));
}

#[test]
fn variables_of_each_kind() {
    let config = load(
        "",
        [
            ("STOA_REGISTRATION__ENABLED", "true"),
            ("STOA_LIMITS__MESSAGES__PER_MINUTE", "7"),
            ("STOA_ROOMS__DEFAULT_VERSION", "11"),
            ("STOA_LISTEN__CLIENT", "127.0.0.1:1, 127.0.0.1:2"),
            ("STOA_LISTEN__METRICS", ""),
            ("STOA_LISTEN__TRUSTED_PROXIES", "10.0.0.7,fd00::/8"),
        ],
    );
    assert!(config.registration.enabled);
    assert_eq!(config.limits.messages.per_minute.get(), 7);
    assert_eq!(config.rooms.default_version, RoomVersionId::V11);
    assert_eq!(config.listen.client.len(), 2);
    assert_eq!(config.listen.metrics, []);
    let networks = ["10.0.0.7/32".parse().unwrap(), "fd00::/8".parse().unwrap()];
    assert_eq!(config.listen.trusted_proxies, networks);
}

/// The names that installations rely on.
#[test]
fn the_stable_names_of_variables() {
    let reference = stoa_config::reference_markdown();
    let variables: BTreeSet<_> =
        reference.lines().filter_map(|line| line.strip_prefix("- Variable: ")).collect();
    for name in [
        "STOA_SERVER_NAME",
        "STOA_DATA_DIR",
        "STOA_LISTEN__CLIENT",
        "STOA_LISTEN__FEDERATION",
        "STOA_DATABASE__URL",
        "STOA_DATABASE__DIRECT_URL",
        "STOA_ROOMS__DEFAULT_VERSION",
        "STOA_REGISTRATION__ENABLED",
        "STOA_REGISTRATION__SHARED_SECRET",
        "STOA_LIMITS__ENABLED",
        "STOA_LOG__FORMAT",
        "STOA_LOG__FILTER",
    ] {
        assert!(variables.contains(format!("`{name}`").as_str()), "{name}");
    }
}

#[test]
fn variables_that_are_not_settings() {
    let config = load(
        "",
        [
            ("PATH", "/bin"),
            ("STOA_CONFIG", "/etc/stoa.toml"),
            ("STOA_PORT", "tcp://10.0.0.1:8008"),
            ("STOA_PORT_8008_TCP_ADDR", "10.0.0.1"),
            ("STOA_SERVICE_HOST", "10.0.0.1"),
        ],
    );
    assert_eq!(shown(&config), shown(&Config::default()));
}

#[test]
fn databases() {
    let sqlite = |path: &str| DatabaseUrl::Sqlite(path.into());
    for (url, expected) in [
        ("sqlite:data/stoa.db", sqlite("data/stoa.db")),
        ("sqlite:/var/lib/stoa/stoa.db", sqlite("/var/lib/stoa/stoa.db")),
        ("sqlite:///var/lib/stoa/stoa.db", sqlite("/var/lib/stoa/stoa.db")),
    ] {
        assert_eq!(load("", [("STOA_DATABASE__URL", url)]).database_url(), expected);
    }
    let url = "postgres://stoa:hunter2@db.example:5432/stoa?sslmode=require";
    let postgres = load("", [("STOA_DATABASE__URL", url)]).database_url();
    assert!(matches!(postgres, DatabaseUrl::Postgres(_)));
    assert_eq!(postgres.expose(), url);
    assert_eq!(sqlite("/data/stoa.db").expose(), "sqlite:/data/stoa.db");
    assert_eq!(load("data_dir = '/data'", NONE).database_url(), sqlite("/data/stoa.db"));
}

#[test]
fn a_well_known_server_is_a_host_with_or_without_a_port() {
    for host in
        ["matrix.example.com:443", "matrix.example.com", "192.0.2.1:8448", "[2001:db8::1]:8448"]
    {
        let config = load(&format!("federation.well_known = '{host}'"), NONE);
        assert_eq!(config.federation.well_known.unwrap(), host);
    }
    assert_eq!(load("", NONE).federation.well_known, None);
}

#[test]
fn a_trailing_slash_of_a_base_url_is_removed() {
    let config = load("public_base_url = 'https://example.com/chat/'", NONE);
    assert_eq!(config.public_base_url.unwrap().as_str(), "https://example.com/chat");
}

#[test]
fn secrets_are_never_shown() {
    let config = load(
        "[database]\n\
         url = 'postgres://stoa:hunter2@localhost/stoa?password=hunter2'\n\
         direct_url = 'postgres://stoa:hunter2@localhost/stoa'\n\
         [registration]\n\
         shared_secret = 'hunter2'\n",
        NONE,
    );
    assert_eq!(config.database_url().to_string(), "postgres://stoa:***@localhost/stoa?...");
    let serialized = serde_json::to_string(&config).unwrap();
    for text in [shown(&config), serialized, config.database_url().to_string()] {
        assert!(text.contains("***") && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_secret_in_its_own_file() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "hunter2\n").unwrap();
    let secret = secret.to_str().unwrap();

    let file = format!("[registration]\nshared_secret_path = '{secret}'\n");
    assert_eq!(load(&file, NONE).registration.shared_secret.unwrap().expose(), "hunter2");

    let variables = [("STOA_REGISTRATION__SHARED_SECRET_PATH", secret)];
    let config = load("registration.shared_secret = 'old'", variables);
    assert_eq!(config.registration.shared_secret.unwrap().expose(), "hunter2");
}
