//! A registration file.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use ruma::{OwnedUserId, ServerName, UserId, api::appservice};
use serde_saphyr::Error as YamlError;
use url::Url;

use crate::{Fault, Namespaces};

/// How large a file may be, in bytes. The largest that bridges make have some thousand.
const MAX_BYTES: u64 = 1 << 20;

/// An application service, as its file describes it.
#[derive(Clone)]
pub struct Registration {
    /// The file.
    pub file: PathBuf,
    /// What it is called in this deployment.
    pub id: String,
    /// Where it is reached; none if it is told of nothing.
    pub url: Option<Url>,
    /// Its own user.
    pub sender: OwnedUserId,
    /// What it is about.
    pub namespaces: Namespaces,
}

/// Reads a file. What comes of it is not checked, and holds the tokens.
pub(crate) fn read(file: &Path) -> Result<appservice::Registration, Fault> {
    let mut text = Vec::new();
    let file = File::open(file).map_err(Fault::Unreadable)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(Fault::Unreadable)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Fault::TooLarge(MAX_BYTES));
    }
    let text = String::from_utf8(text).map_err(|_| {
        Fault::Unreadable(io::Error::new(io::ErrorKind::InvalidData, "it is no UTF-8"))
    })?;
    // A snippet of the file might show a token.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(&text, options).map_err(|error| malformed(&error))
}

/// Says what is wrong without quoting the file, of which any part may be a token.
fn malformed(error: &YamlError) -> Fault {
    let problem = match error.without_snippet() {
        YamlError::SerdeMissingField { field, .. } => format!("`{field}` is missing"),
        // The names of what YAML is made of: a mapping, a sequence, a string.
        YamlError::Unexpected { expected, .. } => {
            let kind = expected.trim_end_matches(" start").trim_end_matches(" scalar");
            format!("expected a {kind}")
        }
        YamlError::InvalidScalar { ty, .. } => format!("expected a {ty}"),
        YamlError::NullIntoString { .. } => "expected a string".to_owned(),
        YamlError::DuplicateMappingKey { .. } => "the same key again".to_owned(),
        YamlError::Eof { .. } => "expected a mapping".to_owned(),
        // It is the parser's, which quotes a character at most.
        YamlError::ExternalMessage { msg, .. } => format!("not valid YAML: {msg}"),
        _ => "not what a registration holds".to_owned(),
    };
    let place = error.location();
    Fault::Malformed {
        line: place.map_or(1, |place| place.line()),
        column: place.map_or(1, |place| place.column()),
        problem,
    }
}

impl Registration {
    /// Checks what a file says by itself.
    pub(crate) fn check(
        file: &Path,
        given: &appservice::Registration,
        server_name: &ServerName,
    ) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let fields =
            [("id", &given.id), ("as_token", &given.as_token), ("hs_token", &given.hs_token)];
        let empty = fields.into_iter().filter(|(_, value)| value.is_empty());
        faults.extend(empty.map(|(field, _)| Fault::Empty(field)));
        if given.as_token == given.hs_token && !given.as_token.is_empty() {
            faults.push(Fault::SameTokens);
        }
        let url = given.url.as_deref().map(|url| parse_url(url).ok_or(Fault::InvalidUrl));
        let url = url.transpose().map_err(|fault| faults.push(fault));
        let sender = sender(&given.sender_localpart, server_name);
        let sender = sender.map_err(|fault| faults.push(fault));
        let namespaces = Namespaces::compile(&given.namespaces);
        let namespaces = namespaces.map_err(|invalid| faults.extend(invalid));
        match (url, sender, namespaces) {
            (Ok(url), Ok(sender), Ok(namespaces)) if faults.is_empty() => {
                Ok(Self { file: file.to_owned(), id: given.id.clone(), url, sender, namespaces })
            }
            _ => Err(faults),
        }
    }

    /// The address without what may be secret: a user name and password, the query, the fragment.
    pub fn shown_url(&self) -> Option<String> {
        let mut url = self.url.clone()?;
        // These fail for addresses without a host, of which there are none here.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_query(None);
        url.set_fragment(None);
        Some(url.into())
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, id, url: _, sender, namespaces } = self;
        let mut shown = f.debug_struct("Registration");
        shown.field("file", file).field("id", id).field("url", &self.shown_url());
        shown.field("sender", sender).field("namespaces", namespaces).finish()
    }
}

fn parse_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

fn sender(localpart: &str, server_name: &ServerName) -> Result<OwnedUserId, Fault> {
    let invalid = || Fault::InvalidSender(localpart.to_owned());
    let user_id = UserId::parse(format!("@{localpart}:{server_name}")).map_err(|_| invalid())?;
    // A colon in the localpart would make it a user of another server.
    let is_whole = user_id.localpart() == localpart && !localpart.is_empty();
    if is_whole && user_id.validate_strict().is_ok() { Ok(user_id) } else { Err(invalid()) }
}
