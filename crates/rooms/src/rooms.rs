//! The rooms of a server. Each part gets only those other parts that it needs, and can be passed on
//! separately.

use std::sync::{Arc, atomic::AtomicU64};

use ruma::{OwnedServerName, RoomVersionId, ServerName, UserId, signatures::Ed25519KeyPair};
use stoa_base::{Clock, Random};
use stoa_storage::{NidAllocator, Store, log::Writer};
use tokio::sync::Semaphore;

use crate::{
    cache::{RoomCaches, known_rooms::KnownRooms, memberships::MembershipCache},
    graph::{events::Events, forks::Forks, state::States, state_events::StateEvents},
    options::RoomsOptions,
    read::{
        client_format::ClientFormat, erased::ErasedContent, members::Members,
        room_state::RoomStates, state_changes::StateChanges, stays::Stays, timeline::Timelines,
        visibility::Visibility, visible_state::VisibleStates,
    },
    write::{
        advance::Heads, audit::MembershipAudit, change::Changes, create::Creation,
        join_limit::JoinLimit, membership::MembershipChanges, once::Once, receive::Receiving,
        redaction::Redactors, restricted_join::RestrictedJoins, send::Sending, stage::Staging,
    },
};

/// What [`Rooms`] is built from.
#[derive(Debug)]
pub struct Parts {
    /// The name of this server.
    pub server_name: OwnedServerName,
    /// The key that this server signs with.
    pub key: Arc<Ed25519KeyPair>,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// The database.
    pub store: Store,
    /// The writer of the log.
    pub writer: Writer,
    /// The allocator of internal numbers.
    pub nids: Arc<NidAllocator>,
    /// The caches, which follow the log.
    pub caches: RoomCaches,
    /// The settings and limits.
    pub options: RoomsOptions,
}

/// All rooms of this server.
///
/// What is named `unchecked_` does not check who may see what: it is for decisions, and for answers
/// whose reader the caller has checked in another way.
#[derive(Debug)]
pub struct Rooms {
    /// The rooms themselves.
    pub known: Arc<KnownRooms>,
    /// The events of all rooms.
    pub unchecked_events: Events,
    /// The states of all rooms.
    pub unchecked_states: States,
    /// Finds the events of states.
    pub state_events: StateEvents,
    /// Resolves the states of forks.
    pub forks: Forks,
    /// The memberships of users.
    pub memberships: Arc<MembershipCache>,
    /// The members of rooms.
    pub members: Members,
    /// The timelines.
    pub timelines: Timelines,
    /// The changes of rooms' current states.
    pub state_changes: StateChanges,
    /// Who may see which events.
    pub visibility: Visibility,
    /// Who may see which states.
    pub visible_states: VisibleStates,
    /// The entries of the states that a reader may see.
    pub states: RoomStates,
    /// Hides the content of erased users' events.
    pub erased: ErasedContent,
    /// Serializes events for clients.
    pub client_format: ClientFormat,
    /// Creates rooms.
    pub creation: Creation,
    /// Sends messages and state, and redacts events.
    pub sending: Sending,
    /// Joins, invites, leaves, and so on.
    pub membership_changes: MembershipChanges,
    /// Receives events from other servers.
    pub receiving: Receiving,
    /// The caches of all of this.
    pub caches: RoomCaches,
    server_name: OwnedServerName,
    default_version: RoomVersionId,
}

impl Rooms {
    /// The rooms of a server.
    pub fn new(parts: Parts) -> Self {
        let Parts { server_name, key, clock, random, store, writer, nids, caches, options } = parts;
        let RoomCaches { known, events, states, memberships, .. } = caches.clone();
        let permits = Arc::new(Semaphore::new(options.resolutions.max(1)));
        let forks = Forks { events: events.clone(), states: states.clone(), permits };
        let state_events = StateEvents { events: events.clone(), states: states.clone() };

        let timelines = Timelines {
            store: store.clone(),
            events: events.clone(),
            recent: Arc::clone(&caches.recent_events),
        };
        let state_changes =
            StateChanges { store: store.clone(), recent: Arc::clone(&caches.recent_changes) };
        let stays = Stays {
            store: store.clone(),
            events: events.clone(),
            memberships: Arc::clone(&memberships),
            changes: state_changes.clone(),
        };
        let erased = ErasedContent {
            states: states.clone(),
            known: Arc::clone(&known),
            users: Arc::clone(&caches.erased),
            stays: stays.clone(),
        };
        let visibility = Visibility {
            store: store.clone(),
            state_events: state_events.clone(),
            known: Arc::clone(&known),
            memberships: Arc::clone(&memberships),
            stays: stays.clone(),
            erased: erased.clone(),
        };
        let visible_states = VisibleStates {
            events: events.clone(),
            known: Arc::clone(&known),
            memberships: Arc::clone(&memberships),
            timelines: timelines.clone(),
            stays,
            visibility: visibility.clone(),
        };
        let room_states = RoomStates {
            state_events: state_events.clone(),
            visible: visible_states.clone(),
            erased: erased.clone(),
        };
        let client_format = ClientFormat {
            clock: clock.clone(),
            state_events: state_events.clone(),
            erased_users: Arc::clone(&caches.erased),
            erased: erased.clone(),
        };

        let changes =
            Changes { known: Arc::clone(&known), store: store.clone(), writer: writer.clone() };
        let redactors =
            Redactors { server_name: server_name.clone(), state_events: state_events.clone() };
        let heads = Heads {
            events: events.clone(),
            states: states.clone(),
            forks: forks.clone(),
            redactors: redactors.clone(),
        };
        let staging = Staging {
            server_name: server_name.clone(),
            key,
            clock: clock.clone(),
            nids: Arc::clone(&nids),
            state_events: state_events.clone(),
            forks: forks.clone(),
            heads: heads.clone(),
        };
        let audit = MembershipAudit { clock: clock.clone(), events: events.clone() };
        let join_limit =
            JoinLimit { memberships: Arc::clone(&memberships), rooms: options.joined_rooms };
        let restricted_joins = RestrictedJoins {
            server_name: server_name.clone(),
            store: store.clone(),
            known: Arc::clone(&known),
            state_events: state_events.clone(),
        };
        let once = Once {
            store: store.clone(),
            writer: writer.clone(),
            transactions: Arc::clone(&caches.transactions),
        };
        let sending = Sending {
            changes: changes.clone(),
            once,
            staging: staging.clone(),
            state_events: state_events.clone(),
            redactors,
            restricted_joins: restricted_joins.clone(),
            join_limit: join_limit.clone(),
            audit: audit.clone(),
        };
        let membership_changes = MembershipChanges {
            changes: changes.clone(),
            staging: staging.clone(),
            state_events: state_events.clone(),
            restricted_joins,
            join_limit: join_limit.clone(),
            audit: audit.clone(),
        };
        let receiving = Receiving {
            clock: clock.clone(),
            store: store.clone(),
            writer: writer.clone(),
            nids: Arc::clone(&nids),
            known: Arc::clone(&known),
            state_events: state_events.clone(),
            forks: forks.clone(),
            changes,
            heads,
        };
        let creation = Creation {
            server_name: server_name.clone(),
            clock,
            random,
            nids,
            writer,
            default_version: options.default_version.clone(),
            known: Arc::clone(&known),
            staging,
            join_limit,
            audit,
            next_creation: AtomicU64::new(0),
        };

        Self {
            known,
            unchecked_events: events,
            unchecked_states: states,
            state_events,
            forks,
            members: Members { store, memberships: Arc::clone(&memberships) },
            memberships,
            timelines,
            state_changes,
            visibility,
            visible_states,
            states: room_states,
            erased,
            client_format,
            creation,
            sending,
            membership_changes,
            receiving,
            caches,
            server_name,
            default_version: options.default_version,
        }
    }

    /// The name of this server.
    pub fn server_name(&self) -> &ServerName {
        &self.server_name
    }

    /// Whether a user belongs to this server.
    pub fn is_local(&self, user_id: &UserId) -> bool {
        user_id.server_name() == self.server_name
    }

    /// The version of a room if its creator does not choose one.
    pub fn default_version(&self) -> &RoomVersionId {
        &self.default_version
    }
}
