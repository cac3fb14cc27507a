//! Checks that the audit log is what the server wrote.

use std::fmt;

use stoa_base::Pos;

use super::link;
use crate::{Conn, Result, Store};

/// How many links are checked at a time.
const PAGE: i64 = 200;

/// A link of the audit chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLink {
    /// The last position of the batch whose entries the link covers.
    pub pos: Pos,
    /// The link, in hexadecimal.
    pub link: String,
}

/// The result of checking the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditCheck {
    /// How many entries are right.
    pub entries: u64,
    /// How many links are right.
    pub links: u64,
    /// The last link that is right.
    pub head: Option<AuditLink>,
    /// The first fault; nothing after it was checked.
    pub fault: Option<AuditFault>,
}

/// A part of the audit log that the server cannot have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditFault {
    /// There are entries without a link.
    Unlinked(Pos),
    /// A link does not match the entries at its position and the link before it.
    Changed(Pos),
}

impl fmt::Display for AuditFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlinked(pos) => write!(f, "the entries at position {pos} have no link"),
            Self::Changed(pos) => write!(
                f,
                "the link at position {pos} does not fit the entries there and the link before it"
            ),
        }
    }
}

/// The last link of the chain.
pub async fn audit_head(conn: &mut Conn) -> Result<Option<AuditLink>> {
    let found: Option<(i64, String)> =
        conn.optional("SELECT pos, link FROM audit_chain ORDER BY pos DESC LIMIT 1", &[]).await?;
    Ok(found.map(|(pos, link)| AuditLink { pos: Pos(pos), link }))
}

/// Whether the chain contains this link.
pub async fn has_audit_link(conn: &mut Conn, link: &AuditLink) -> Result<bool> {
    let found: Option<(String,)> =
        conn.optional("SELECT link FROM audit_chain WHERE pos = $1", &[link.pos.0.into()]).await?;
    Ok(found.is_some_and(|(found,)| found == link.link))
}

/// Recomputes the chain, up to its current head.
pub async fn verify_audit(store: &Store) -> Result<AuditCheck> {
    let mut check = AuditCheck::default();
    loop {
        // One snapshot for the links and their entries. Rows are never changed once written, so the
        // pages need not share a snapshot.
        let mut conn = store.snapshot().await?;
        let after = check.head.as_ref().map_or(-1, |head| head.pos.0);
        let links: Vec<(i64, String)> = conn
            .all(
                "SELECT pos, link FROM audit_chain WHERE pos > $1 ORDER BY pos LIMIT $2",
                &[after.into(), PAGE.into()],
            )
            .await?;
        let Some((until, _)) = links.last() else {
            let rest: Option<(i64,)> = conn
                .optional(
                    "SELECT pos FROM audit_log WHERE pos > $1 ORDER BY pos LIMIT 1",
                    &[after.into()],
                )
                .await?;
            check.fault = rest.map(|(pos,)| AuditFault::Unlinked(Pos(pos)));
            return Ok(check);
        };
        let entries: Vec<(i64, String)> = conn
            .all(
                "SELECT pos, entry FROM audit_log WHERE pos > $1 AND pos <= $2 ORDER BY pos, n",
                &[after.into(), (*until).into()],
            )
            .await?;
        drop(conn);
        check.add(links, entries);
        if check.fault.is_some() {
            return Ok(check);
        }
    }
}

impl AuditCheck {
    /// Checks the links and entries that come next.
    fn add(&mut self, links: Vec<(i64, String)>, entries: Vec<(i64, String)>) {
        let mut entries = entries.into_iter().peekable();
        for (pos, found) in links {
            if let Some((unlinked, _)) = entries.peek()
                && *unlinked < pos
            {
                self.fault = Some(AuditFault::Unlinked(Pos(*unlinked)));
                return;
            }
            let mut here = Vec::new();
            while let Some((_, entry)) = entries.next_if(|(at, _)| *at == pos) {
                here.push(entry);
            }
            let previous = self.head.as_ref().map(|head| head.link.as_str());
            if here.is_empty() || link(previous, pos, &here) != found {
                self.fault = Some(AuditFault::Changed(Pos(pos)));
                return;
            }
            self.entries += here.len() as u64;
            self.links += 1;
            self.head = Some(AuditLink { pos: Pos(pos), link: found });
        }
    }
}
