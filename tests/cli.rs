//! The command line, as used from a terminal.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    process::{Command, Output},
};

use tempfile::TempDir;

/// A working folder in which the program sees only the environment variables that a test sets.
struct Terminal {
    folder: TempDir,
    variables: Vec<(&'static str, &'static str)>,
}

impl Terminal {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.folder.path().join(name), text).unwrap();
        self
    }

    fn variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_stoa"))
            .args(arguments)
            .env_clear()
            .envs(self.variables.iter().copied())
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    /// The output of a command that must succeed.
    #[track_caller]
    fn prints(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && complaint.is_empty(), "{complaint}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The error of a command that must fail and print nothing else.
    #[track_caller]
    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
        String::from_utf8(output.stderr).unwrap()
    }
}

#[test]
fn version() {
    let version = format!("stoa {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(Terminal::new().prints(&["version"]), version);
    assert_eq!(Terminal::new().prints(&["--version"]), version);
}

#[test]
fn check_config_without_a_file() {
    assert_eq!(
        Terminal::new().prints(&["check-config"]),
        "There is no configuration file. The defaults and environment variables are valid.\n\
         \x20 server name  localhost\n\
         \x20 data folder  ./stoa-data\n\
         \x20 database     sqlite:./stoa-data/stoa.db\n\
         \x20 clients      127.0.0.1:8008\n"
    );
}

#[test]
fn check_config_with_the_file_in_the_folder() {
    let terminal = Terminal::new()
        .file("stoa.toml", "server_name = 'example.com'")
        .variable("STOA_DATABASE__URL", "postgres://stoa:hunter2@localhost/stoa");
    assert_eq!(
        terminal.prints(&["check-config"]),
        "The configuration in stoa.toml is valid.\n\
         \x20 server name  example.com\n\
         \x20 data folder  ./stoa-data\n\
         \x20 database     postgres://stoa:***@localhost/stoa\n\
         \x20 clients      127.0.0.1:8008\n"
    );
}

#[test]
fn check_config_says_what_is_wrong() {
    let terminal = Terminal::new()
        .file("stoa.toml", "server_nam = 'example.com'\n[limits]\nenabled = 'no'\n")
        .variable("STOA_LOG_FORMAT", "json");
    assert_eq!(
        terminal.fails(&["check-config"]),
        "error: the configuration cannot be used:\n\
         \x20 stoa.toml:1: `server_nam`: there is no such setting; did you mean `server_name`?\n\
         \x20 stoa.toml:3: `limits.enabled`: expected true or false, found \"no\"\n\
         \x20 STOA_LOG_FORMAT: there is no such setting; did you mean STOA_LOG__FORMAT?\n"
    );
}

const REGISTRATION: &str = "\
id: irc
url: http://localhost:9999
as_token: hunter2
hs_token: hunter3
sender_localpart: _irc_bot
namespaces:
  users:
    - exclusive: true
      regex: '@_irc_.*'
  rooms:
    - exclusive: false
      regex: '!.*'
";

const APPSERVICES: &str = "appservices.registrations = ['irc.yaml', 'xmpp.yaml']\n";

#[test]
fn check_config_lists_application_services() {
    let xmpp = "{ id: xmpp, url: null, as_token: hunter4, hs_token: hunter5, \
                sender_localpart: xmpp, namespaces: {} }";
    let terminal = Terminal::new()
        .file("stoa.toml", APPSERVICES)
        .file("irc.yaml", REGISTRATION)
        .file("xmpp.yaml", xmpp);
    let printed = terminal.prints(&["check-config"]);
    assert!(
        printed.ends_with(
            "\n\
             \x20 appservice   irc, http://localhost:9999/\n\
             \x20   file       irc.yaml\n\
             \x20   sender     @_irc_bot:localhost\n\
             \x20   users      @_irc_.* (exclusive)\n\
             \x20   rooms      !.*\n\
             \x20 appservice   xmpp, not called\n\
             \x20   file       xmpp.yaml\n\
             \x20   sender     @xmpp:localhost\n\
             warning: irc.yaml: `namespaces.rooms[0]`: \"!.*\" includes all rooms of this server\n"
        ),
        "{printed}"
    );
}

#[test]
fn check_config_and_serve_say_the_same_of_application_services() {
    let terminal = Terminal::new()
        .file("stoa.toml", APPSERVICES)
        .file("irc.yaml", REGISTRATION)
        .file("xmpp.yaml", &REGISTRATION.replace("http:", "gopher:"));
    let said = terminal.fails(&["check-config"]);
    assert_eq!(
        said,
        "error: the registration files of application services have errors:\n\
         \x20 xmpp.yaml: `url` must be an address such as \"http://localhost:9999\", or null\n\
         \x20 xmpp.yaml: `id`: \"irc\" is already the ID of irc.yaml\n\
         \x20 xmpp.yaml: `sender_localpart`: \"_irc_bot\" is already the sender of irc.yaml\n\
         \x20 xmpp.yaml: `as_token` is already a token of irc.yaml\n\
         \x20 xmpp.yaml: `hs_token` is already a token of irc.yaml\n\
         \x20 xmpp.yaml: `namespaces.users[0]`: \"@_irc_.*\" is already a namespace of irc.yaml, \
         and both are exclusive\n"
    );
    assert_eq!(terminal.fails(&["serve"]), said);
    assert!(!terminal.folder.path().join("stoa-data").exists(), "it did not begin to start");
}

#[test]
fn the_file_that_is_read() {
    let first_line = |terminal: &Terminal, arguments: &[&str]| {
        terminal.prints(arguments).lines().next().unwrap().to_owned()
    };
    let terminal = Terminal::new().file("stoa.toml", "").file("a.toml", "").file("b.toml", "");
    let in_the_folder = first_line(&terminal, &["check-config"]);
    assert_eq!(in_the_folder, "The configuration in stoa.toml is valid.");

    let terminal = terminal.variable("STOA_CONFIG", "a.toml");
    let by_variable = first_line(&terminal, &["check-config"]);
    assert_eq!(by_variable, "The configuration in a.toml is valid.");

    for arguments in [["--config", "b.toml", "check-config"], ["check-config", "-c", "b.toml"]] {
        let by_argument = first_line(&terminal, &arguments);
        assert_eq!(by_argument, "The configuration in b.toml is valid.");
    }
}

#[test]
fn a_file_that_is_named_must_exist() {
    assert_eq!(
        Terminal::new().fails(&["check-config", "--config", "none.toml"]),
        "error: the configuration cannot be used:\n\
         \x20 none.toml: cannot be read: No such file or directory (os error 2)\n"
    );
}

#[test]
fn generate_config_prints_a_file_that_is_right() {
    let sample = Terminal::new().prints(&["generate-config"]);
    assert!(sample.contains("\n#server_name = \"localhost\"\n"), "{sample}");
    Terminal::new().file("stoa.toml", &sample).prints(&["check-config"]);
}

/// The error of a `serve` that cannot start.
#[track_caller]
fn refuses_to_start(database_url: &'static str) -> String {
    Terminal::new().variable("STOA_DATABASE__URL", database_url).fails(&["serve"])
}

#[test]
fn a_database_that_is_not_there() {
    let said = refuses_to_start("postgres://stoa:hunter2@127.0.0.1:1/stoa");
    assert!(
        said.starts_with("error: the database cannot be reached: Connection refused"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn a_file_that_is_no_database() {
    let text = "This is a text, and long enough to be looked at. ".repeat(20);
    let said = Terminal::new()
        .file("stoa.db", &text)
        .variable("STOA_DATABASE__URL", "sqlite:stoa.db")
        .fails(&["serve"]);
    let expected =
        "error: the SQLite database `stoa.db` cannot be opened: file is not a database\n";
    assert_eq!(said, expected);
}

#[test]
fn a_data_folder_that_is_a_file() {
    let said = Terminal::new().file("data", "").variable("STOA_DATA_DIR", "data").fails(&["serve"]);
    assert_eq!(said, "error: `data` cannot be used: it is a file, and must be a folder\n");
}

#[test]
fn a_port_that_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let terminal = Terminal::new().file("stoa.toml", &format!("listen.client = '{address}'"));
    let output = terminal.run(&["serve"]);
    let said = String::from_utf8(output.stderr).unwrap();
    let last = said.lines().last().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        last.starts_with(&format!("error: cannot listen at {address}: Address already")),
        "{last}"
    );
}

#[test]
fn accounts_with_bad_names() {
    let terminal = Terminal::new();
    assert!(terminal.run(&["create-user", "alice"]).status.success());
    for (name, expected) in [
        ("alice", "this user name is taken"),
        ("Alice", "this user name is taken"),
        ("two words", "A user name can only contain"),
        ("", "A user name cannot be empty"),
    ] {
        let output = terminal.run(&["create-user", name]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout), (Some(1), Vec::new()));
        assert!(said.contains(&format!("error: {expected}")), "{name:?}: {said}");
    }
}
