//! The messages about a wrong configuration, word for word, since new admins read them.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{ffi::OsString, fs, os::unix::ffi::OsStringExt, path::Path};

use stoa_config::{Config, ConfigErrors};

const NONE: [(&str, &str); 0] = [];

/// The errors in a file called `stoa.toml` with this text, one line each.
fn said_of(text: impl AsRef<[u8]>) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stoa.toml");
    fs::write(&file, text).unwrap();
    let folder = format!("{}/", folder.path().display());
    let said = lines(&Config::load(Some(&file), NONE).unwrap_err());
    said.into_iter().map(|line| line.replace(&folder, "")).collect()
}

/// The errors in these variables, one line each.
fn said_of_variables<const N: usize>(variables: [(&str, &str); N]) -> Vec<String> {
    lines(&Config::load(None, variables).unwrap_err())
}

fn lines(errors: &ConfigErrors) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn a_heading_and_a_line_for_each_error() {
    let errors = Config::load(None, [("STOA_A", "1"), ("STOA_B", "2")]).unwrap_err();
    let possible = "possible here: STOA_DATA_DIR, STOA_PUBLIC_BASE_URL, STOA_SERVER_NAME";
    assert_eq!(
        errors.to_string(),
        format!(
            "the configuration cannot be used:\n  \
             STOA_A: there is no such setting; {possible}\n  \
             STOA_B: there is no such setting; {possible}"
        )
    );
}

#[test]
fn a_missing_file() {
    let said = lines(&Config::load(Some(Path::new("/nowhere/stoa.toml")), NONE).unwrap_err());
    assert_eq!(
        said,
        ["/nowhere/stoa.toml: cannot be read: No such file or directory (os error 2)"]
    );
}

#[test]
fn a_file_that_is_not_text() {
    assert_eq!(said_of(b"\n# \xff\n"), ["stoa.toml:2: not UTF-8 text"]);
}

#[test]
fn a_file_that_is_not_toml() {
    assert_eq!(
        said_of("server_name = example.com\n"),
        [
            "stoa.toml:1: `server_name`: not valid TOML: string values must be quoted, expected literal string"
        ]
    );
    assert_eq!(
        said_of("[listen\nclient = '127.0.0.1:8008'\n"),
        ["stoa.toml:1: not valid TOML: unclosed table, expected `]`"]
    );
    assert_eq!(
        said_of("[registration]\nenabled = true\nenabled = false\n"),
        ["stoa.toml:3: `registration.enabled`: not valid TOML: duplicate key"]
    );
}

#[test]
fn an_unknown_key_near_a_known_one() {
    assert_eq!(
        said_of("[listen]\nclinet = '127.0.0.1:8008'\n"),
        ["stoa.toml:2: `listen.clinet`: there is no such setting; did you mean `listen.client`?"]
    );
    assert_eq!(
        said_of("[listn]\nclient = '127.0.0.1:8008'\n"),
        ["stoa.toml:1: `listn`: there is no such setting; did you mean `listen`?"]
    );
    assert_eq!(
        said_of("'listen.client' = '127.0.0.1:8008'\n"),
        [
            "stoa.toml:1: `\"listen.client\"`: there is no such setting; did you mean `listen.client`?"
        ]
    );
}

#[test]
fn a_known_key_in_the_wrong_section() {
    assert_eq!(
        said_of("[database]\ndata_dir = 'data'\n"),
        ["stoa.toml:2: `database.data_dir`: there is no such setting; did you mean `data_dir`?"]
    );
}

#[test]
fn an_unknown_key_near_none() {
    assert_eq!(
        said_of("[log]\n\nlevel = 'debug'\n"),
        ["stoa.toml:3: `log.level`: there is no such setting; \
          possible here: `log.filter`, `log.format`, `log.slow_request_ms`"]
    );
    assert_eq!(
        said_of("[a.b]\nc = 1\n"),
        [
            "stoa.toml:1: `a`: there is no such setting; possible here: `anonymous`, `appservices`, `audit`, `data_dir`, \
          `database`, `federation`, `limits`, `listen`, `log`, `public_base_url`, `registration`, `rooms`, \
          `server_name`, `tracing`"
        ]
    );
}

#[test]
fn an_unknown_variable() {
    assert_eq!(
        said_of_variables([("STOA_DATABASE_URL", "sqlite:stoa.db")]),
        ["STOA_DATABASE_URL: there is no such setting; did you mean STOA_DATABASE__URL?"]
    );
    assert_eq!(
        said_of_variables([("STOA_ENABLED", "true")]),
        ["STOA_ENABLED: there is no such setting; \
          did you mean STOA_LIMITS__ENABLED or STOA_REGISTRATION__ENABLED?"]
    );
    assert_eq!(
        said_of_variables([("STOA_LOG__LEVEL", "debug")]),
        ["STOA_LOG__LEVEL: there is no such setting; \
          possible here: STOA_LOG__FILTER, STOA_LOG__FORMAT, STOA_LOG__SLOW_REQUEST_MS"]
    );
    assert_eq!(
        said_of_variables([("STOA_SMTP__HOST", "localhost")]),
        ["STOA_SMTP__HOST: there is no such setting; `stoa generate-config` shows all settings"]
    );
}

#[test]
fn a_section_and_a_setting_confused() {
    assert_eq!(
        said_of("listen = '127.0.0.1:8008'\n"),
        [
            "stoa.toml:1: `listen`: expected a section with settings of its own, found a single value"
        ]
    );
    assert_eq!(
        said_of("[server_name]\nname = 'example.com'\n"),
        ["stoa.toml:1: `server_name`: expected a string, found { name = \"example.com\" }"]
    );
}

#[test]
fn a_value_of_the_wrong_type() {
    assert_eq!(
        said_of("[limits]\nenabled = 'yes'\n"),
        ["stoa.toml:2: `limits.enabled`: expected true or false, found \"yes\""]
    );
    assert_eq!(
        said_of("[limits.messages]\nburst = 1.5\n"),
        ["stoa.toml:2: `limits.messages.burst`: \
          expected a whole number from 1 to 1000000, found 1.5"]
    );
    assert_eq!(
        said_of("[listen]\nclient = 8008\n"),
        ["stoa.toml:2: `listen.client`: expected a string or a list of strings, found 8008"]
    );
    assert_eq!(
        said_of("[listen]\nclient = ['127.0.0.1:8008', 8009]\n"),
        ["stoa.toml:2: `listen.client`: \
          expected a string or a list of strings, found [\"127.0.0.1:8008\", 8009]"]
    );
}

#[test]
fn a_variable_of_the_wrong_type() {
    assert_eq!(
        said_of_variables([("STOA_LIMITS__ENABLED", "yes")]),
        ["STOA_LIMITS__ENABLED: expected true or false, found \"yes\""]
    );
    assert_eq!(
        said_of_variables([("STOA_DATABASE__MAX_CONNECTIONS", "many")]),
        ["STOA_DATABASE__MAX_CONNECTIONS: expected a whole number from 2 to 1000, found \"many\""]
    );
}

#[test]
fn a_variable_that_is_not_text() {
    let variable = ("STOA_SERVER_NAME".into(), OsString::from_vec(vec![0xff]));
    let said = lines(&Config::load(None, [variable as (OsString, OsString)]).unwrap_err());
    assert_eq!(said, ["STOA_SERVER_NAME: not UTF-8 text"]);
}

#[test]
fn a_number_out_of_range() {
    assert_eq!(
        said_of("[limits]\nmax_request_bytes = 10\n"),
        ["stoa.toml:2: `limits.max_request_bytes`: \
          expected a whole number from 65536 to 1073741824, found 10"]
    );
    assert_eq!(
        said_of("[limits]\nmax_request_bytes = 99999999999999999999999\n"),
        ["stoa.toml:2: `limits.max_request_bytes`: \
          expected a whole number from 65536 to 1073741824"]
    );
}

#[test]
fn an_invalid_choice() {
    assert_eq!(
        said_of("[log]\nformat = 'xml'\n"),
        ["stoa.toml:2: `log.format`: expected one of \"text\", \"json\", found \"xml\""]
    );
    assert_eq!(
        said_of("rooms.default_version = '5'\n"),
        ["stoa.toml:1: `rooms.default_version`: \
          expected one of \"6\", \"7\", \"8\", \"9\", \"10\", \"11\", \"12\", found \"5\""]
    );
    assert_eq!(
        said_of("rooms.default_version = 11\n"),
        ["stoa.toml:1: `rooms.default_version`: \
          expected one of \"6\", \"7\", \"8\", \"9\", \"10\", \"11\", \"12\", found 11"]
    );
}

#[test]
fn an_invalid_server_name() {
    assert_eq!(
        said_of("server_name = 'https://example.com'\n"),
        ["stoa.toml:1: `server_name`: expected a name such as \"example.com\" or \
          \"matrix.example.com:8448\", found \"https://example.com\""]
    );
}

#[test]
fn an_invalid_host() {
    for wrong in [
        "https://matrix.example.com",
        "matrix.example.com/",
        "example.com:0",
        "example.com:66000",
        ":443",
        "",
    ] {
        assert_eq!(
            said_of(format!("[federation]\nwell_known = '{wrong}'\n")),
            [format!(
                "stoa.toml:2: `federation.well_known`: expected a host with or without a \
                 port, such as \"matrix.example.com:443\", found \"{wrong}\""
            )]
        );
    }
}

#[test]
fn an_invalid_path() {
    assert_eq!(
        said_of("data_dir = ''\n"),
        ["stoa.toml:1: `data_dir`: expected a path, found \"\""]
    );
    assert_eq!(
        said_of("[appservices]\nregistrations = ['irc.yaml', '']\n"),
        ["stoa.toml:2: `appservices.registrations`: expected paths, found [\"irc.yaml\", \"\"]"]
    );
}

#[test]
fn an_invalid_base_url() {
    for wrong in ["matrix.example.com", "ftp://example.com", "https://example.com/?a=b"] {
        assert_eq!(
            said_of(format!("public_base_url = '{wrong}'\n")),
            [format!(
                "stoa.toml:1: `public_base_url`: expected an address such as \
                 \"https://matrix.example.com\", without query, found \"{wrong}\""
            )]
        );
    }
}

#[test]
fn invalid_addresses() {
    assert_eq!(
        said_of("[listen]\nclient = 'localhost:8008'\n"),
        ["stoa.toml:2: `listen.client`: expected addresses with ports such as \
          \"127.0.0.1:8008\" or \"[::]:8008\", found \"localhost:8008\""]
    );
    assert_eq!(
        said_of("[listen]\nclient = []\n"),
        ["stoa.toml:2: `listen.client`: expected at least one address such as \
          \"127.0.0.1:8008\", found []"]
    );
    assert_eq!(
        said_of_variables([("STOA_LISTEN__METRICS", "127.0.0.1:9008, 9009")]),
        ["STOA_LISTEN__METRICS: expected addresses with ports such as \"127.0.0.1:8008\" or \
          \"[::]:8008\", found [\"127.0.0.1:9008\", \"9009\"]"]
    );
    assert_eq!(
        said_of("[listen]\ntrusted_proxies = ['10.0.0.0/33']\n"),
        ["stoa.toml:2: `listen.trusted_proxies`: expected addresses or networks such as \
          \"10.0.0.7\" or \"10.0.0.0/8\", found [\"10.0.0.0/33\"]"]
    );
}

#[test]
fn an_invalid_log_filter() {
    for wrong in ["inof", "info,stoa_sync", "info stoa_sync=debug", ""] {
        assert_eq!(
            said_of(format!("[log]\nfilter = '{wrong}'\n")),
            [format!(
                "stoa.toml:2: `log.filter`: expected a level (off, error, warn, info, debug, \
                 trace) and MODULE=LEVEL, with commas in between, found \"{wrong}\""
            )]
        );
    }
}

/// No error shows a wrong database URL, since it may contain a password.
#[test]
fn an_invalid_database_url() {
    for wrong in [
        "mysql://stoa:hunter2@localhost/stoa",
        "postgres:hunter2",
        "postgres://stoa:12#hunter2@localhost/stoa",
        "postgres://stoa:12/hunter2@localhost/stoa",
        "sqlite::memory:",
        "sqlite:",
        "sqlite:stoa.db?mode=ro",
        "stoa.db",
    ] {
        assert_eq!(
            said_of(format!("[database]\nurl = '{wrong}'\n")),
            ["stoa.toml:2: `database.url`: \
              expected `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`"]
        );
    }
    assert_eq!(
        said_of("[database]\ndirect_url = 'sqlite:stoa.db'\n"),
        ["stoa.toml:2: `database.direct_url`: \
          expected `postgres://USER:PASSWORD@HOST/DATABASE`"]
    );
}

#[test]
fn a_direct_url_with_sqlite() {
    let expected = "only useful with a PostgreSQL in `database.url`; set that, or remove this";
    assert_eq!(
        said_of("[database]\nurl = 'sqlite:stoa.db'\ndirect_url = 'postgres://localhost/stoa'\n"),
        [format!("stoa.toml:3: `database.direct_url`: {expected}")]
    );
    assert_eq!(
        said_of_variables([("STOA_DATABASE__DIRECT_URL", "postgres://localhost/stoa")]),
        [format!("STOA_DATABASE__DIRECT_URL: {expected}")]
    );
}

/// Each way to get a secret wrong. None of the errors shows it.
#[test]
fn an_invalid_secret() {
    let string = "stoa.toml:2: `registration.shared_secret`: expected a string";
    for (wrong, said) in [
        (
            "hunter2",
            "stoa.toml:2: `registration.shared_secret`: not valid TOML: string values must be quoted, expected literal string",
        ),
        (
            "\"hunter2",
            "stoa.toml:2: `registration.shared_secret`: not valid TOML: invalid basic string, expected `\"`",
        ),
        (
            "\"\"\"\nhunter2=\\q\"\"\"",
            "stoa.toml:3: not valid TOML: missing escaped value, expected `b`, `e`, `f`, `n`, `r`, `\\`, `\"`, `x`, `u`, `U`",
        ),
        ("20000000000000000000000000", string),
        ("2222", string),
        ("['hunter2']", string),
        ("{ x = 'hunter2' }", string),
        ("''", "stoa.toml:2: `registration.shared_secret`: expected a string that is not empty"),
    ] {
        assert_eq!(said_of(format!("[registration]\nshared_secret = {wrong}\n")), [said]);
    }
}

#[test]
fn a_secret_in_a_missing_file() {
    assert_eq!(
        said_of_variables([("STOA_REGISTRATION__SHARED_SECRET_PATH", "/nowhere/secret")]),
        ["STOA_REGISTRATION__SHARED_SECRET_PATH: \
          /nowhere/secret cannot be read: No such file or directory (os error 2)"]
    );
}

#[test]
fn a_secret_set_twice() {
    assert_eq!(
        said_of("[registration]\nshared_secret = 'hunter2'\nshared_secret_path = '/secret'\n"),
        ["stoa.toml:3: `registration.shared_secret_path`: \
          `registration.shared_secret` is set too; keep one of them"]
    );
}

#[test]
fn all_errors_at_once_by_line_and_then_by_variable() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stoa.toml");
    fs::write(&file, "server_name = ''\n[rooms]\nversion = '12'\n[limits]\nenabled = 1\n").unwrap();
    let variables = [("STOA_LOG__FORMAT", "xml"), ("STOA_DATA_DIR", "")];
    let said = lines(&Config::load(Some(&file), variables).unwrap_err());
    let places: Vec<_> = said
        .iter()
        .map(|line| line.rsplit('/').next().unwrap().split(": ").next().unwrap())
        .collect();
    let expected =
        ["stoa.toml:1", "stoa.toml:3", "stoa.toml:5", "STOA_DATA_DIR", "STOA_LOG__FORMAT"];
    assert_eq!(places, expected);
}
