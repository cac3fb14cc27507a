//! All registration files of a server, checked against each other.

use std::path::{Path, PathBuf};

use ruma::{OwnedServerName, ServerName, api::appservice};

use crate::{
    Fault, Namespace, NamespaceKind, Registration, RegistrationError, RegistrationErrors,
    printable, registration,
};

/// The registered application services of a server.
#[derive(Clone, Debug)]
pub struct Registrations {
    all: Vec<Registration>,
    server_name: OwnedServerName,
}

/// Something valid that an admin probably did not mean.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{}: `namespaces.{kind}[{index}]`: \"{}\" includes all {kind} of this server",
    file.display(),
    printable(regex)
)]
pub struct Warning {
    file: PathBuf,
    kind: NamespaceKind,
    index: usize,
    regex: String,
}

impl Registrations {
    /// Reads and checks the files.
    ///
    /// # Errors
    ///
    /// All errors in all files.
    pub fn load(files: &[PathBuf], server_name: &ServerName) -> Result<Self, RegistrationErrors> {
        let (mut all, mut read, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for (index, file) in files.iter().enumerate() {
            let mut fail = |fault| errors.push(RegistrationError { file: file.clone(), fault });
            let mut before = files.iter().take(index);
            if let Some(first) = before.find(|before| is_same_file(before, file)) {
                fail(Fault::ListedTwice { first: first.clone() });
                continue;
            }
            let given = match registration::read(file) {
                Ok(given) => given,
                Err(fault) => {
                    fail(fault);
                    continue;
                }
            };
            match Registration::check(file, &given, server_name) {
                Ok(checked) => {
                    all.iter().flat_map(|other| of_another(&checked, other)).for_each(&mut fail);
                    all.push(checked);
                }
                Err(faults) => faults.into_iter().for_each(&mut fail),
            }
            conflicts(&given, &read).into_iter().for_each(fail);
            read.push((&**file, given));
        }
        if errors.is_empty() {
            Ok(Self { all, server_name: server_name.to_owned() })
        } else {
            Err(RegistrationErrors(errors))
        }
    }

    /// The registrations, in the order in which the files are configured.
    pub fn iter(&self) -> impl Iterator<Item = &Registration> {
        self.all.iter()
    }

    /// Things that are valid but probably not meant.
    pub fn warnings(&self) -> impl Iterator<Item = Warning> {
        let namespaces = self.all.iter().flat_map(|registration| {
            let of = |kind| registration.namespaces.of(kind).iter().enumerate();
            let all = NamespaceKind::ALL
                .into_iter()
                .flat_map(move |kind| of(kind).map(move |n| (kind, n)));
            all.map(move |(kind, (index, namespace))| (registration, kind, index, namespace))
        });
        let wide = namespaces.filter(|(_, kind, _, namespace)| {
            namespace.includes_everything(*kind, &self.server_name)
        });
        wide.map(|(registration, kind, index, namespace)| Warning {
            file: registration.file.clone(),
            kind,
            index,
            regex: namespace.regex().to_owned(),
        })
    }
}

/// Whether two paths lead to the same file.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(one) == real(other)
}

/// Finds a sender that is in an exclusive namespace of the other service. Only that service may
/// create users there, so this sender could never be created.
fn of_another(given: &Registration, other: &Registration) -> Vec<Fault> {
    let mut faults = Vec::new();
    // This is reported as a separate fault.
    if given.sender == other.sender {
        return faults;
    }
    let exclusive = |of: &Registration, sender: &Registration| {
        let mut users = of.namespaces.of(NamespaceKind::Users).iter().enumerate();
        let includes = |namespace: &Namespace| namespace.includes(sender.sender.as_str());
        users
            .find(|(_, namespace)| namespace.exclusive && includes(namespace))
            .map(|(index, _)| index)
    };
    if let Some(index) = exclusive(other, given) {
        faults.push(Fault::SenderOfAnother { index, other: other.file.clone() });
    }
    if let Some(index) = exclusive(given, other) {
        faults.push(Fault::TakesSender { index, other: other.file.clone() });
    }
    faults
}

/// Finds what a file must not share with the files before it.
fn conflicts(
    given: &appservice::Registration,
    before: &[(&Path, appservice::Registration)],
) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (file, other) in before {
        let other_file = || file.to_path_buf();
        if given.id == other.id && !given.id.is_empty() {
            faults.push(Fault::SharedId { id: given.id.clone(), other: other_file() });
        }
        if given.sender_localpart == other.sender_localpart && !given.sender_localpart.is_empty() {
            let localpart = given.sender_localpart.clone();
            faults.push(Fault::SharedSender { localpart, other: other_file() });
        }
        for (field, token) in [("as_token", &given.as_token), ("hs_token", &given.hs_token)] {
            if [&other.as_token, &other.hs_token].contains(&token) && !token.is_empty() {
                faults.push(Fault::SharedToken { field, other: other_file() });
            }
        }
        for kind in NamespaceKind::ALL {
            let exclusive =
                |of| NamespaceKind::of(kind, of).iter().enumerate().filter(|(_, n)| n.exclusive);
            for (index, namespace) in exclusive(&given.namespaces) {
                let mut others = exclusive(&other.namespaces);
                if others.any(|(_, other)| other.regex == namespace.regex) {
                    let regex = namespace.regex.clone();
                    let other = other_file();
                    faults.push(Fault::SharedNamespace { kind, index, regex, other });
                }
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ruma::server_name;
    use tempfile::TempDir;

    use super::*;

    /// A typical registration file, with some lines replaced.
    fn registration(id: &str, lines: &[&str]) -> String {
        let url = "url: http://localhost:9999".to_owned();
        let as_token = format!("as_token: hunter2-as-{id}");
        let hs_token = format!("hs_token: hunter2-hs-{id}");
        let sender = format!("sender_localpart: _{id}_bot");
        let namespaces = format!(
            "namespaces: {{ users: [{{ exclusive: true, regex: '@_{id}_.*' }}], \
             aliases: [{{ exclusive: true, regex: '#_{id}_.*' }}] }}"
        );
        let mut all = vec![format!("id: {id}"), url, as_token, hs_token, sender, namespaces];
        all.push("rate_limited: false".to_owned());
        for line in lines {
            let key = line.split(':').next().unwrap_or_default();
            match all.iter_mut().find(|present| present.starts_with(key)) {
                Some(present) => (*line).clone_into(present),
                None => all.push((*line).to_owned()),
            }
        }
        all.join("\n")
    }

    fn load(texts: &[String]) -> Result<Registrations, RegistrationErrors> {
        let folder = TempDir::new().expect("a folder");
        let files: Vec<PathBuf> = ["a.yaml", "b.yaml", "c.yaml"]
            .iter()
            .zip(texts)
            .map(|(name, text)| {
                let file = folder.path().join(name);
                fs::write(&file, text).expect("a file");
                file
            })
            .collect();
        Registrations::load(&files, server_name!("example.com"))
    }

    /// The errors in these files, one line each.
    #[track_caller]
    fn said_of(texts: &[String]) -> Vec<String> {
        let errors = load(texts).expect_err("they are wrong");
        let text = format!("{errors:?} {errors}");
        assert!(!text.contains("hunter2"), "a token is shown: {text}");
        let file_name = |line: String| line.rsplit('/').next().unwrap_or_default().to_owned();
        // The folder's name is in front of each file's.
        errors
            .iter()
            .map(|RegistrationError { file, fault }| {
                let folder = file.parent().expect("a folder").display().to_string() + "/";
                let file = file_name(file.display().to_string());
                format!("{file}: {fault}").replace(&folder, "")
            })
            .collect()
    }

    #[track_caller]
    fn said_of_one(lines: &[&str]) -> Vec<String> {
        said_of(&[registration("irc", lines)])
    }

    #[test]
    fn typical_files_of_bridges() {
        let loaded = load(&[registration("irc", &[]), registration("xmpp", &["url: null"])]);
        let loaded = loaded.expect("they are right");
        let [irc, xmpp] = &loaded.all[..] else { unreachable!("two of them") };
        assert_eq!((&*irc.id, irc.sender.as_str()), ("irc", "@_irc_bot:example.com"));
        assert_eq!(irc.shown_url().as_deref(), Some("http://localhost:9999/"));
        assert_eq!(xmpp.shown_url(), None);
        let [users] = irc.namespaces.of(NamespaceKind::Users) else { unreachable!("one of them") };
        assert!(users.exclusive && users.includes("@_irc_alice:example.com"));
        assert!(irc.namespaces.of(NamespaceKind::Rooms).is_empty());
        assert_eq!(loaded.warnings().count(), 0);
        assert!(!format!("{loaded:?}").contains("hunter2"));
    }

    #[test]
    fn unknown_keys_are_ignored() {
        let lines = ["protocols: [irc]", "receive_ephemeral: true", "org.example.key: { a: [1] }"];
        load(&[registration("irc", &lines)]).expect("it is right");
    }

    #[test]
    fn secrets_in_an_address_are_not_shown() {
        for url in
            ["stoa:hunter2@bridge.example.com/irc", "bridge.example.com/irc?key=hunter2#hunter2"]
        {
            let lines = [&*format!("url: 'https://{url}'")];
            let loaded = load(&[registration("irc", &lines)]).expect("it is right");
            let shown = loaded.all[0].shown_url();
            assert_eq!(shown.as_deref(), Some("https://bridge.example.com/irc"));
            assert!(!format!("{loaded:?}").contains("hunter2"), "{loaded:?}");
        }
    }

    #[test]
    fn a_missing_file() {
        let errors = Registrations::load(&["/nowhere/irc.yaml".into()], server_name!("a"));
        assert_eq!(
            errors.expect_err("it is not there").to_string(),
            "the registration files of application services have errors:\n  \
             /nowhere/irc.yaml: cannot be read: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn a_file_that_is_listed_twice() {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("irc.yaml");
        fs::write(&file, registration("irc", &[])).expect("a file");
        let other = folder.path().join("../").join(folder.path().file_name().expect("a name"));
        let other = other.join("irc.yaml");
        let errors = Registrations::load(
            &[file.clone(), file.clone(), other.clone()],
            server_name!("example.com"),
        );
        let errors = errors.expect_err("it is listed three times");
        let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
        let twice = |again: &Path| {
            let (again, first) = (again.display(), file.display());
            format!("{again}: is listed twice in `appservices.registrations`, first as {first}")
        };
        assert_eq!(said, [twice(&file), twice(&other)]);
    }

    #[test]
    fn a_file_that_is_too_large() {
        let comment = format!("{}\n# {}", registration("irc", &[]), "x".repeat(1 << 20));
        assert_eq!(
            said_of(&[comment]),
            ["a.yaml: is larger than 1048576 bytes, the limit for a registration file"]
        );
        let limit = registration("irc", &[]);
        let rest = (1 << 20) - limit.len() - "\n# ".len();
        load(&[format!("{limit}\n# {}", "x".repeat(rest))]).expect("it is just small enough");
    }

    #[test]
    fn quoted_text_is_escaped_for_the_terminal() {
        let odd = ["sender_localpart: \"a\\e[2J\\nb\\\\\""];
        assert_eq!(
            said_of_one(&odd),
            [
                "a.yaml: `sender_localpart`: \"a\\u{1b}[2J\\nb\\\" cannot be the name of a user; a name has \
              lowercase letters, digits and any of `._=/+-`"
            ]
        );
    }

    /// The error names the place but shows nothing of the text.
    #[test]
    fn a_file_that_is_not_a_registration() {
        for (text, said) in [
            ("id: irc\nurl: null\n", "line 2, column 1: `as_token` is missing"),
            ("id: irc\nas_token: [hunter2]\n", "line 2, column 11: expected a string"),
            ("id: irc\nas_token: \"hunter2\n", "line 2, column 11: not valid YAML"),
            ("id: irc\nas_token: @hunter2\n", "line 2, column 11: not valid YAML"),
            ("id: irc\nas_token: *hunter2\n", "line 2, column 11: not valid in a registration"),
            ("id: irc\nid: hunter2\n", "line 2, column 1: duplicate key"),
            ("hunter2\n", "line 1, column 1: expected a mapping"),
            ("- hunter2\n", "line 1, column 1: expected a mapping"),
            ("", "line 1, column 1: expected a mapping"),
        ] {
            let errors = said_of(&[text.to_owned()]);
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].starts_with(&format!("a.yaml: {said}")), "{errors:?}");
        }
        let limited = said_of_one(&["rate_limited: hunter2"]);
        assert_eq!(limited, ["a.yaml: line 7, column 15: expected a boolean"]);
    }

    #[test]
    fn all_faults_of_a_file_are_reported_at_once() {
        let wrong = [
            "id: ''",
            "url: localhost:9999",
            "as_token: ''",
            "hs_token: ''",
            "sender_localpart: 'irc:example.org'",
            "namespaces: { users: [{ exclusive: true, regex: '@irc_(' }] }",
        ];
        assert_eq!(
            said_of_one(&wrong),
            [
                "a.yaml: `id` is empty",
                "a.yaml: `as_token` is empty",
                "a.yaml: `hs_token` is empty",
                "a.yaml: `url` must be an address such as \"http://localhost:9999\", or null",
                "a.yaml: `sender_localpart`: \"irc:example.org\" cannot be the name of a user; a name \
                 has lowercase letters, digits and any of `._=/+-`",
                "a.yaml: `namespaces.users[0].regex`: \"@irc_(\" is not a valid regular expression: unclosed \
                 group",
            ]
        );
        for url in ["''", "ftp://localhost", "unix:///run/irc.sock", "/irc"] {
            assert_eq!(said_of_one(&[&format!("url: {url}")]).len(), 1, "{url}");
        }
        for sender in ["''", "IRC", "@irc", "'a b'"] {
            assert_eq!(said_of_one(&[&format!("sender_localpart: {sender}")]).len(), 1, "{sender}");
        }
    }

    #[test]
    fn the_two_tokens_of_a_file_differ() {
        assert_eq!(
            said_of_one(&["as_token: hunter2", "hs_token: hunter2"]),
            ["a.yaml: `as_token` and `hs_token` are the same"]
        );
    }

    #[test]
    fn ids_tokens_and_exclusive_namespaces_must_differ() {
        let first = registration("irc", &[]);
        let same_id = registration("xmpp", &["id: irc"]);
        assert_eq!(
            said_of(&[first.clone(), same_id]),
            ["b.yaml: `id`: \"irc\" is already the ID of a.yaml"]
        );
        let same_tokens =
            registration("xmpp", &["as_token: hunter2-hs-irc", "hs_token: hunter2-as-irc"]);
        assert_eq!(
            said_of(&[first.clone(), same_tokens]),
            [
                "b.yaml: `as_token` is already a token of a.yaml",
                "b.yaml: `hs_token` is already a token of a.yaml",
            ]
        );
        let namespace = |exclusive| {
            let namespaces = format!(
                "namespaces: {{ aliases: [{{ exclusive: false, regex: '#a' }}, \
                 {{ exclusive: {exclusive}, regex: '#_irc_.*' }}] }}"
            );
            registration("xmpp", &[&namespaces])
        };
        assert_eq!(
            said_of(&[first.clone(), namespace(true)]),
            [
                "b.yaml: `namespaces.aliases[1]`: \"#_irc_.*\" is already a namespace of a.yaml, and \
              both are exclusive"
            ]
        );
        load(&[first, namespace(false)]).expect("one of them is not exclusive");
    }

    #[test]
    fn each_service_needs_its_own_sender() {
        let first = registration("irc", &[]);
        let same = registration("xmpp", &["sender_localpart: _irc_bot"]);
        assert_eq!(
            said_of(&[first.clone(), same]),
            ["b.yaml: `sender_localpart`: \"_irc_bot\" is already the sender of a.yaml"]
        );
        let inside = registration("xmpp", &["sender_localpart: _irc_xmpp"]);
        assert_eq!(
            said_of(&[first.clone(), inside.clone()]),
            [
                "b.yaml: `sender_localpart`: an exclusive namespace of a.yaml, `namespaces.users[0]`, includes \
              this user"
            ]
        );
        assert_eq!(
            said_of(&[inside, first]),
            ["b.yaml: `namespaces.users[0]`: it is exclusive and includes the sender of a.yaml"]
        );
        let shared = "namespaces: { users: [{ exclusive: false, regex: '@_.*' }] }";
        let texts = [registration("irc", &[shared]), registration("xmpp", &[shared])];
        load(&texts).expect("it is not exclusive");
    }

    /// A file with errors of its own is still compared with the others.
    #[test]
    fn every_file_is_checked() {
        let texts = [
            registration("irc", &["url: irc"]),
            "hunter2".to_owned(),
            registration("irc", &["sender_localpart: IRC"]),
        ];
        let said = said_of(&texts);
        let files: Vec<_> = said.iter().map(|line| &line[..6]).collect();
        assert_eq!(
            files,
            ["a.yaml", "b.yaml"].into_iter().chain(["c.yaml"; 6]).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_namespace_that_includes_all_users_gives_a_warning() {
        let wide = "namespaces: { users: [{ exclusive: false, regex: '@.*' }], \
                    rooms: [{ exclusive: false, regex: '!abc:example\\.com' }] }";
        let loaded = load(&[registration("irc", &[wide])]).expect("it is allowed");
        let warnings: Vec<_> = loaded.warnings().map(|warning| warning.to_string()).collect();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let said = "/a.yaml: `namespaces.users[0]`: \"@.*\" includes all users of this server";
        assert!(warnings[0].ends_with(said), "{warnings:?}");
    }
}
