//! The namespaces of a service.

use ruma::api::appservice;

use crate::{Fault, Namespace, NamespaceKind};

/// The namespaces of a service.
#[derive(Clone, Debug)]
pub struct Namespaces {
    users: Vec<Namespace>,
    aliases: Vec<Namespace>,
    rooms: Vec<Namespace>,
}

impl Namespaces {
    /// Compiles the namespaces of a file.
    pub(crate) fn compile(namespaces: &appservice::Namespaces) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut compile = |kind: NamespaceKind| {
            let mut compiled = Vec::new();
            for (index, namespace) in kind.of(namespaces).iter().enumerate() {
                match Namespace::compile(namespace) {
                    Ok(namespace) => compiled.push(namespace),
                    Err(problem) => faults.push(Fault::InvalidRegex { kind, index, problem }),
                }
            }
            compiled
        };
        let [users, aliases, rooms] = NamespaceKind::ALL.map(&mut compile);
        if faults.is_empty() { Ok(Self { users, aliases, rooms }) } else { Err(faults) }
    }

    /// The namespaces of one kind, in the order of the file.
    pub fn of(&self, kind: NamespaceKind) -> &[Namespace] {
        match kind {
            NamespaceKind::Users => &self.users,
            NamespaceKind::Aliases => &self.aliases,
            NamespaceKind::Rooms => &self.rooms,
        }
    }
}
