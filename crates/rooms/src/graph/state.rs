//! A room's state at any point: a persistent tree whose versions share what did not change.
//!
//! A state maps keys (the hash of type and state key) to events. It is a tree with up to sixteen
//! branches per node. Changing one entry creates new nodes on the path to it and keeps all others.
//! What is stored therefore grows with the number of changes times the logarithm of the state's
//! size, and one entry can be found without loading the rest. The first digit of a key is odd for
//! member events and even for everything else, so a large room's state can be walked without its
//! members.

mod node;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use ruma::events::StateEventType;
use sha2::{Digest, Sha256};
use stoa_base::{Allowance, EventNid, Pos, StateNid};
use stoa_cluster::{Batch, CacheKeeper, LogCache};
use stoa_storage::{Error, NidAllocator, Result, Store, log::StateNodeRow, repo};

use self::node::{Node, Slot};

/// The state of a room before its first event. It has no node.
pub const EMPTY: StateNid = StateNid(0);

/// How many bytes an entry and a node take while a state is being walked, roughly.
pub(crate) const ENTRY_BYTES: u64 = 128;
const NODE_BYTES: u64 = 512;

const BITS: usize = 4;
const LEVELS: usize = 128 / BITS;

/// The hash of a type and a state key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateKey(u128);

impl StateKey {
    /// The key of the entry for `kind` and `state_key`.
    pub fn new(kind: &str, state_key: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update((kind.len() as u64).to_le_bytes());
        hasher.update(kind);
        hasher.update(state_key);
        let digest = hasher.finalize();
        let mut bytes = [0; 16];
        for (byte, digest) in bytes.iter_mut().zip(digest) {
            *byte = digest;
        }
        let hash = u128::from_le_bytes(bytes);
        Self(if kind == "m.room.member" { hash | 1 } else { hash & !1 })
    }

    /// The key of the entry for `kind` and `state_key`.
    pub fn typed(kind: &StateEventType, state_key: &str) -> Self {
        Self::new(&kind.to_string(), state_key)
    }

    /// The key of a user's member event.
    pub fn member(user_id: &ruma::UserId) -> Self {
        Self::new("m.room.member", user_id.as_str())
    }

    /// Whether this is the key of a member event.
    pub const fn is_member(self) -> bool {
        self.0 & 1 == 1
    }

    const fn digit(self, level: usize) -> u8 {
        ((self.0 >> (level * BITS)) & 0xf) as u8
    }
}

/// Which entries of a state are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All entries.
    All,
    /// All entries except the member events.
    WithoutMembers,
    /// The member events.
    Members,
}

impl Part {
    const fn has_digit(self, level: usize, digit: u8) -> bool {
        match self {
            Self::All => true,
            Self::WithoutMembers => level > 0 || digit & 1 == 0,
            Self::Members => level > 0 || digit & 1 == 1,
        }
    }
}

/// All states of all rooms. Cheap to clone.
#[derive(Clone, Debug)]
pub struct States {
    store: Store,
    nids: Arc<NidAllocator>,
    nodes: Arc<LogCache<StateNid, Arc<Node>>>,
}

/// A state that was derived from another, with its nodes that are not stored yet. It is valid only
/// once an append has stored them.
#[derive(Clone, Debug, Default)]
pub struct NewState {
    /// The rows to store.
    pub rows: Vec<StateNodeRow>,
}

/// Nodes never change, but if the log has lost them, their numbers may be reused.
impl CacheKeeper for States {
    fn apply(&self, _: Batch<'_>) {}

    fn clear(&self, _: Pos) {}

    fn forget(&self, _: Pos) {
        self.nodes.clear();
    }
}

impl States {
    /// The states stored in `store`, with up to `cache_bytes` of their nodes in memory.
    pub fn new(store: Store, nids: Arc<NidAllocator>, cache_bytes: u64) -> Self {
        // The newest nodes are those that are not stored yet, and they are evicted last.
        let nodes = LogCache::new(cache_bytes, |_, node: &Arc<Node>| node.weight());
        Self { store, nids, nodes: Arc::new(nodes) }
    }

    /// How many nodes are in memory, for metrics.
    pub fn cached_nodes(&self) -> u64 {
        self.nodes.len()
    }

    /// How many bytes of nodes are in memory, roughly.
    pub(crate) fn bytes(&self) -> u64 {
        self.nodes.bytes()
    }

    /// The event of one entry, or none if the state has no such entry.
    pub async fn get(&self, root: StateNid, key: StateKey) -> Result<Option<EventNid>> {
        let mut at = root;
        for level in 0..LEVELS {
            if at == EMPTY {
                return Ok(None);
            }
            let node = self.node(at).await?;
            match node.get(key.digit(level)) {
                None => return Ok(None),
                Some(Slot::Entry(found, event)) => return Ok((found == key).then_some(event)),
                Some(Slot::Subtree(child)) => at = child,
            }
        }
        Err(Error::corrupt("a state tree is too deep"))
    }

    /// The events of these entries of several states, with one query per level for all of them.
    pub async fn get_many(
        &self,
        wanted: &[(StateNid, StateKey)],
    ) -> Result<HashMap<(StateNid, StateKey), EventNid>> {
        let mut found = HashMap::new();
        let mut open: Vec<(StateNid, StateNid, StateKey)> = wanted
            .iter()
            .filter(|(root, _)| *root != EMPTY)
            .map(|(root, key)| (*root, *root, *key))
            .collect();
        for level in 0..LEVELS {
            if open.is_empty() {
                return Ok(found);
            }
            let nodes = self.nodes_of(open.iter().map(|(_, at, _)| *at)).await?;
            let mut next = Vec::new();
            for (root, at, key) in open {
                match nodes.get(&at).and_then(|node| node.get(key.digit(level))) {
                    Some(Slot::Entry(entry, event)) if entry == key => {
                        found.insert((root, key), event);
                    }
                    Some(Slot::Subtree(child)) => next.push((root, child, key)),
                    Some(Slot::Entry(..)) | None => {}
                }
            }
            open = next;
        }
        Err(Error::corrupt("a state tree is too deep"))
    }

    /// All entries in a part of a state. Fails if they take more memory than is allowed.
    pub async fn entries(
        &self,
        root: StateNid,
        part: Part,
        allowance: &Allowance,
    ) -> crate::error::Result<BTreeMap<StateKey, EventNid>> {
        Ok(self.entries_of(&[root], part, allowance).await?.remove(&root).unwrap_or_default())
    }

    /// All entries in a part of each of these states, with one query per level for all of them.
    /// Fails if they take more memory than is allowed.
    pub async fn entries_of(
        &self,
        roots: &[StateNid],
        part: Part,
        allowance: &Allowance,
    ) -> crate::error::Result<HashMap<StateNid, BTreeMap<StateKey, EventNid>>> {
        let mut entries: HashMap<StateNid, BTreeMap<StateKey, EventNid>> =
            roots.iter().map(|root| (*root, BTreeMap::new())).collect();
        let mut open: Vec<(StateNid, StateNid)> =
            entries.keys().filter(|root| **root != EMPTY).map(|root| (*root, *root)).collect();
        for level in 0..=LEVELS {
            if open.is_empty() {
                return Ok(entries);
            }
            let nodes = self.nodes_of(open.iter().map(|(_, at)| *at)).await?;
            let mut next = Vec::new();
            let mut found = 0;
            for (root, at) in open {
                let slots = nodes.get(&at).into_iter().flat_map(|node| node.slots());
                for (_, slot) in slots.filter(|(digit, _)| part.has_digit(level, *digit)) {
                    match slot {
                        Slot::Entry(key, event) => {
                            found += 1;
                            entries.entry(root).or_default().insert(key, event);
                        }
                        Slot::Subtree(child) => next.push((root, child)),
                    }
                }
            }
            // The nodes of the next level have not been read yet.
            allowance.take(ENTRY_BYTES * found + NODE_BYTES * next.len() as u64)?;
            open = next;
        }
        Err(Error::corrupt("a state tree is too deep").into())
    }

    /// Estimates how many entries a part of these states has in total. It follows only one path
    /// down each tree: keys are hashes, so all paths are about equally long. One query per level
    /// for all states.
    pub async fn about_how_many(
        &self,
        roots: impl IntoIterator<Item = StateNid>,
        part: Part,
    ) -> Result<u64> {
        let mut count = 0_u64;
        // The current node of each path, and how many similar paths it stands for.
        let mut open: Vec<(StateNid, u64)> =
            roots.into_iter().filter(|root| *root != EMPTY).map(|root| (root, 1)).collect();
        for level in 0..=LEVELS {
            if open.is_empty() {
                return Ok(count);
            }
            let nodes = self.nodes_of(open.iter().map(|(at, _)| *at)).await?;
            let mut next = Vec::new();
            for (at, alike) in open {
                let slots = nodes.get(&at).into_iter().flat_map(|node| node.slots());
                let (mut subtrees, mut down) = (0_u64, None);
                for (_, slot) in slots.filter(|(digit, _)| part.has_digit(level, *digit)) {
                    match slot {
                        Slot::Entry(..) => count = count.saturating_add(alike),
                        Slot::Subtree(child) => {
                            subtrees += 1;
                            down = Some(child);
                        }
                    }
                }
                next.extend(down.map(|child| (child, alike.saturating_mul(subtrees))));
            }
            open = next;
        }
        Err(Error::corrupt("a state tree is too deep"))
    }

    /// The state `root` with `key` set to `event`, or with `key` removed if that is none. New nodes
    /// are added to `new`; this node can read them immediately.
    pub async fn set(
        &self,
        root: StateNid,
        key: StateKey,
        event: Option<EventNid>,
        new: &mut NewState,
    ) -> Result<StateNid> {
        let mut path: Vec<(usize, Arc<Node>)> = Vec::new();
        let mut at = root;
        for level in 0..LEVELS {
            if at == EMPTY {
                path.push((level, Arc::default()));
                break;
            }
            let node = self.node(at).await?;
            let child = match node.get(key.digit(level)) {
                Some(Slot::Subtree(child)) => Some(child),
                _ => None,
            };
            path.push((level, node));
            match child {
                Some(child) => at = child,
                None => break,
            }
        }
        let Some((level, last)) = path.pop() else { return Ok(root) };
        let digit = key.digit(level);
        let slot = match (event, last.get(digit)) {
            (Some(event), Some(Slot::Entry(other, other_event))) if other != key => {
                let subtree =
                    self.split(level + 1, (other, other_event), (key, event), new).await?;
                Some(Slot::Subtree(subtree))
            }
            (Some(event), _) => Some(Slot::Entry(key, event)),
            (None, Some(Slot::Entry(found, _))) if found == key => None,
            (None, _) => return Ok(root),
        };
        let mut child = self.add(last.with(digit, slot), new).await?;
        while let Some((level, parent)) = path.pop() {
            let slot = (child != EMPTY).then_some(Slot::Subtree(child));
            child = self.add(parent.with(key.digit(level), slot), new).await?;
        }
        Ok(child)
    }

    /// The entries in which `from` and `to` differ, each with its event in both. Subtrees that both
    /// share are not visited.
    pub async fn difference(
        &self,
        from: StateNid,
        to: StateNid,
    ) -> Result<BTreeMap<StateKey, (Option<EventNid>, Option<EventNid>)>> {
        let mut differences: BTreeMap<StateKey, (Option<EventNid>, Option<EventNid>)> =
            BTreeMap::new();
        // Subtrees at this level that only one side has, by side.
        let mut open = (HashSet::from([from]), HashSet::from([to]));
        for _ in 0..=LEVELS {
            let shared: Vec<StateNid> = open.0.intersection(&open.1).copied().collect();
            for nid in shared.into_iter().chain([EMPTY]) {
                open.0.remove(&nid);
                open.1.remove(&nid);
            }
            if open.0.is_empty() && open.1.is_empty() {
                differences.retain(|_, (from, to)| from != to);
                return Ok(differences);
            }
            let nodes = self.nodes_of(open.0.iter().chain(&open.1).copied()).await?;
            let mut next = (HashSet::new(), HashSet::new());
            for nid in &open.0 {
                for (_, slot) in nodes.get(nid).into_iter().flat_map(|node| node.slots()) {
                    match slot {
                        Slot::Entry(key, event) => {
                            differences.entry(key).or_default().0 = Some(event);
                        }
                        Slot::Subtree(child) => {
                            next.0.insert(child);
                        }
                    }
                }
            }
            for nid in &open.1 {
                for (_, slot) in nodes.get(nid).into_iter().flat_map(|node| node.slots()) {
                    match slot {
                        Slot::Entry(key, event) => {
                            differences.entry(key).or_default().1 = Some(event);
                        }
                        Slot::Subtree(child) => {
                            next.1.insert(child);
                        }
                    }
                }
            }
            open = next;
        }
        Err(Error::corrupt("a state tree is too deep"))
    }

    /// A subtree at `level` that contains two entries.
    async fn split(
        &self,
        level: usize,
        one: (StateKey, EventNid),
        other: (StateKey, EventNid),
        new: &mut NewState,
    ) -> Result<StateNid> {
        let mut common = level;
        while common < LEVELS && one.0.digit(common) == other.0.digit(common) {
            common += 1;
        }
        if common >= LEVELS {
            return Err(Error::corrupt("two state keys have the same hash"));
        }
        let entry = |(key, event): (StateKey, EventNid)| Some(Slot::Entry(key, event));
        let node = Node::default().with(one.0.digit(common), entry(one));
        let node = node.with(other.0.digit(common), entry(other));
        let mut child = self.add(node, new).await?;
        for level in (level..common).rev() {
            child = self.add(Node::new([(one.0.digit(level), Slot::Subtree(child))]), new).await?;
        }
        Ok(child)
    }

    async fn add(&self, node: Node, new: &mut NewState) -> Result<StateNid> {
        if node.is_empty() {
            return Ok(EMPTY);
        }
        let nid = StateNid(self.nids.take(1).await?.start);
        new.rows.push(StateNodeRow { nid, node: node.encode() });
        self.nodes.insert_new(nid, Arc::new(node));
        Ok(nid)
    }

    async fn node(&self, nid: StateNid) -> Result<Arc<Node>> {
        if let Some(node) = self.nodes.get(&nid) {
            return Ok(node);
        }
        let mut nodes = self.nodes_of([nid]).await?;
        nodes.remove(&nid).ok_or_else(|| Error::corrupt(format_args!("no state node {}", nid.0)))
    }

    async fn nodes_of(
        &self,
        nids: impl IntoIterator<Item = StateNid>,
    ) -> Result<HashMap<StateNid, Arc<Node>>> {
        let read = async |missing: Vec<StateNid>| {
            let mut conn = self.store.read().await?;
            let mut found = Vec::with_capacity(missing.len());
            for (nid, bytes) in repo::state::nodes(&mut conn, &missing).await? {
                found.push((nid, Arc::new(Node::decode(bytes)?)));
            }
            if found.len() < missing.len() {
                return Err(Error::corrupt("a state node is missing"));
            }
            Ok(found)
        };
        // Nodes never change.
        let nids: HashSet<StateNid> = nids.into_iter().collect();
        self.nodes.get_or_read(nids, read).await
    }
}
