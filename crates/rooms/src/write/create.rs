//! Creating rooms. All initial events are in one append, so a room exists completely or not at all.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, MilliSecondsSinceUnixEpoch, OwnedRoomId,
    OwnedServerName, OwnedUserId, RoomId, RoomVersionId, UInt,
    events::{StateEventType, TimelineEventType},
    room_version_rules::RoomVersionRules,
};
use stoa_base::{Actor, Clock, MemberProfile, Pos, Random, RoomNid};
use stoa_storage::{
    NidAllocator,
    log::{Append, AppendError, Chain, RoomRow, Writer},
};

use crate::{
    cache::{known_rooms::KnownRooms, room::Head},
    error::{Result, RoomError},
    graph::state,
    write::{
        audit::MembershipAudit,
        change::Draft,
        content::put,
        join_limit::JoinLimit,
        stage::{NewEvent, Staging},
    },
};

/// How often creating a room is attempted if there already is one with the same ID.
const ATTEMPTS: usize = 5;

/// The settings that a room starts with.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Users join by invite.
    PrivateChat,
    /// Users join by invite, and invited users get the creator's power.
    TrustedPrivateChat,
    /// Anybody can join.
    PublicChat,
}

/// A room to be created.
#[derive(Clone, Debug)]
pub struct CreateRoom {
    /// The room version. None: the default version.
    pub version: Option<RoomVersionId>,
    /// The preset.
    pub preset: Preset,
    /// Additional content for `m.room.create`.
    pub creation_content: CanonicalJsonObject,
    /// Values that replace keys of the preset's power levels.
    pub power_level_override: CanonicalJsonObject,
    /// The canonical alias. The caller creates the alias itself.
    pub canonical_alias: Option<String>,
    /// Initial state: type, state key, content.
    pub initial_state: Vec<(StateEventType, String, CanonicalJsonObject)>,
    /// The room's name.
    pub name: Option<String>,
    /// The room's topic.
    pub topic: Option<String>,
    /// The users to invite, with their profiles.
    pub invite: Vec<(OwnedUserId, MemberProfile)>,
    /// Whether the invites are to a direct chat.
    pub is_direct: bool,
    /// The creator's profile.
    pub profile: MemberProfile,
}

/// Creates rooms.
#[derive(Debug)]
pub struct Creation {
    pub(crate) server_name: OwnedServerName,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) nids: Arc<NidAllocator>,
    pub(crate) writer: Writer,
    /// The version of a room if its creator does not choose one.
    pub(crate) default_version: RoomVersionId,
    pub(crate) known: Arc<KnownRooms>,
    pub(crate) staging: Staging,
    pub(crate) join_limit: JoinLimit,
    pub(crate) audit: MembershipAudit,
    /// The earliest creation time of this node's next room, in milliseconds since the Unix epoch.
    pub(crate) next_creation: AtomicU64,
}

impl Creation {
    /// Creates a room. Returns its ID once all its initial events are flushed.
    #[tracing::instrument(name = "create_room", level = "debug", skip_all)]
    pub async fn create(
        &self,
        actor: &Actor,
        session: Option<&str>,
        create: CreateRoom,
    ) -> Result<OwnedRoomId> {
        let version = create.version.clone().unwrap_or_else(|| self.default_version.clone());
        let rules = supported(&version)?;
        self.join_limit.check(&actor.user_id, None).await?;
        let events = first_events(&create, &actor.user_id, &version, &rules);
        for _ in 0..ATTEMPTS {
            match self.create_once(actor, session, &version, &rules, events.clone()).await {
                // The same user created the same room through another node at the same time.
                Err(RoomError::Append(AppendError::Duplicate)) => {}
                created => return created,
            }
        }
        Err(AppendError::Duplicate.into())
    }

    async fn create_once(
        &self,
        actor: &Actor,
        session: Option<&str>,
        version: &RoomVersionId,
        rules: &Arc<RoomVersionRules>,
        events: Vec<NewEvent>,
    ) -> Result<OwnedRoomId> {
        let nid = RoomNid(self.nids.take(1).await?.start);
        let head = Head {
            chain: Arc::new(Chain::new(nid, Pos::START, Pos::START)),
            extremities: Vec::new(),
            state: state::EMPTY,
        };
        let mut draft = Draft { head, append: Append::new() };
        let id = self.random_room_id()?;
        let mut room = self.known.insert_new(nid, id, version.clone(), Arc::clone(rules));
        for mut new in events {
            let is_create = new.kind == TimelineEventType::RoomCreate;
            if is_create {
                new.sent = Some(self.creation_time());
            }
            let event =
                self.staging.stage(&room, &mut draft, new).await.map_err(RoomError::in_creation)?;
            self.audit.note(actor, &room, &event, &mut draft.append).await?;
            if is_create && event.pdu.room_id != room.id {
                // From version 12 on the ID is the hash of the create event, which is known only
                // now.
                let id = event.pdu.room_id.clone();
                room = self.known.replace_new(nid, id, version.clone(), Arc::clone(rules));
            }
        }
        draft.append.rooms.push(RoomRow {
            nid,
            room_id: room.id.to_string(),
            version: version.to_string(),
            created_ms: self.clock.now_ms(),
        });
        draft.guard(session);
        let pending = self.writer.enqueue(draft.append)?;
        // In a separate task, so that a client that hangs up cancels nothing.
        tokio::spawn(pending.wait()).await.map_err(|_| AppendError::Unavailable)??;
        Ok(room.id.clone())
    }

    /// The creation time of a room that is created now: the present, or just after the time of the
    /// last room that this node created.
    ///
    /// From version 12 on, the room ID is the hash of the create event. Two create events of one
    /// user with the same content and time would be the same room.
    fn creation_time(&self) -> MilliSecondsSinceUnixEpoch {
        let now = u64::from(self.clock.now().get());
        let (order, free) = (Ordering::Relaxed, &self.next_creation);
        let taken = free.fetch_update(order, order, |free| Some(free.max(now) + 1));
        let time = taken.map_or(now, |free| free.max(now));
        MilliSecondsSinceUnixEpoch(UInt::new_saturating(time))
    }

    fn random_room_id(&self) -> Result<OwnedRoomId> {
        let id = format!("!{}:{}", self.random.alphanumeric(18), self.server_name);
        RoomId::parse(id).map_err(|error| RoomError::InvalidParam(error.to_string()))
    }
}

impl RoomError {
    /// If the authorization rules refuse an initial event, the request is invalid.
    fn in_creation(self) -> Self {
        match self {
            Self::Forbidden(why) => Self::InvalidRoomState(why),
            error => error,
        }
    }
}

/// The rules of a room version, if this server can create such rooms: versions 6 to 12.
fn supported(version: &RoomVersionId) -> Result<Arc<RoomVersionRules>> {
    let is_supported = matches!(
        version,
        RoomVersionId::V6
            | RoomVersionId::V7
            | RoomVersionId::V8
            | RoomVersionId::V9
            | RoomVersionId::V10
            | RoomVersionId::V11
            | RoomVersionId::V12
    );
    is_supported
        .then(|| version.rules())
        .flatten()
        .map(Arc::new)
        .ok_or_else(|| RoomError::UnsupportedVersion(version.clone()))
}

/// The initial events of a room, in the order that the specification demands.
fn first_events(
    create: &CreateRoom,
    creator: &OwnedUserId,
    version: &RoomVersionId,
    rules: &RoomVersionRules,
) -> Vec<NewEvent> {
    let mut events = Vec::new();
    let mut add = |kind: &str, key: &str, content: CanonicalJsonObject| {
        events.push(NewEvent::state(kind, key, creator.clone(), content));
    };
    let is_given = |kind: &str| {
        create
            .initial_state
            .iter()
            .any(|(given, key, _)| key.is_empty() && given.to_string() == kind)
    };

    add("m.room.create", "", create_content(create, creator, version, rules));
    let mut member = object([("membership", text("join"))]);
    put(&mut member, "displayname", create.profile.displayname.as_deref());
    put(&mut member, "avatar_url", create.profile.avatar_url.as_deref());
    add("m.room.member", creator.as_str(), member);
    if !is_given("m.room.power_levels") {
        add("m.room.power_levels", "", power_levels(create, creator, rules));
    }
    if let Some(alias) = &create.canonical_alias {
        add("m.room.canonical_alias", "", object([("alias", text(alias))]));
    }
    let (join_rule, guest_access) = match create.preset {
        Preset::PublicChat => ("public", "forbidden"),
        Preset::PrivateChat | Preset::TrustedPrivateChat => ("invite", "can_join"),
    };
    for (kind, key, value) in [
        ("m.room.join_rules", "join_rule", join_rule),
        ("m.room.history_visibility", "history_visibility", "shared"),
        ("m.room.guest_access", "guest_access", guest_access),
    ] {
        if !is_given(kind) {
            add(kind, "", object([(key, text(value))]));
        }
    }
    for (kind, key, content) in &create.initial_state {
        let is_replaced = match kind {
            StateEventType::RoomName => create.name.is_some() && key.is_empty(),
            StateEventType::RoomTopic => create.topic.is_some() && key.is_empty(),
            _ => false,
        };
        if !is_replaced {
            add(&kind.to_string(), key, content.clone());
        }
    }
    if let Some(name) = &create.name {
        add("m.room.name", "", object([("name", text(name))]));
    }
    if let Some(topic) = &create.topic {
        add("m.room.topic", "", topic_content(topic));
    }
    for (invitee, profile) in &create.invite {
        let mut content = object([("membership", text("invite"))]);
        put(&mut content, "displayname", profile.displayname.as_deref());
        put(&mut content, "avatar_url", profile.avatar_url.as_deref());
        if create.is_direct {
            content.insert("is_direct".to_owned(), CanonicalJsonValue::Bool(true));
        }
        add("m.room.member", invitee.as_str(), content);
    }
    events
}

fn create_content(
    create: &CreateRoom,
    creator: &OwnedUserId,
    version: &RoomVersionId,
    rules: &RoomVersionRules,
) -> CanonicalJsonObject {
    let mut content = create.creation_content.clone();
    content.insert("room_version".to_owned(), text(version.as_str()));
    if rules.authorization.use_room_create_sender {
        content.remove("creator");
    } else {
        content.insert("creator".to_owned(), text(creator.as_str()));
    }
    if rules.authorization.additional_room_creators
        && create.preset == Preset::TrustedPrivateChat
        && !create.invite.is_empty()
    {
        let list = content
            .entry("additional_creators".to_owned())
            .or_insert_with(|| CanonicalJsonValue::Array(Vec::new()));
        if let CanonicalJsonValue::Array(list) = list {
            for (invitee, _) in &create.invite {
                let invitee = text(invitee.as_str());
                if !list.contains(&invitee) {
                    list.push(invitee);
                }
            }
        }
    }
    content
}

fn power_levels(
    create: &CreateRoom,
    creator: &OwnedUserId,
    rules: &RoomVersionRules,
) -> CanonicalJsonObject {
    let privileged = rules.authorization.explicitly_privilege_room_creators;
    let mut users = CanonicalJsonObject::new();
    if !privileged {
        users.insert(creator.to_string(), number(100));
        if create.preset == Preset::TrustedPrivateChat {
            users.extend(
                create.invite.iter().map(|(invitee, _)| (invitee.to_string(), number(100))),
            );
        }
    }
    let events = object([
        ("m.room.name", number(50)),
        ("m.room.power_levels", number(100)),
        ("m.room.history_visibility", number(100)),
        ("m.room.canonical_alias", number(50)),
        ("m.room.avatar", number(50)),
        // From room version 12 on, only the creators have enough power for this by default.
        ("m.room.tombstone", number(if privileged { 150 } else { 100 })),
        ("m.room.server_acl", number(100)),
        ("m.room.encryption", number(100)),
    ]);
    let invite = if create.preset == Preset::PublicChat { 50 } else { 0 };
    let mut content = object([
        ("users", users.into()),
        ("users_default", number(0)),
        ("events", events.into()),
        ("events_default", number(0)),
        ("state_default", number(50)),
        ("ban", number(50)),
        ("kick", number(50)),
        ("redact", number(50)),
        ("invite", number(invite)),
        ("notifications", object([("room", number(50))]).into()),
    ]);
    content.extend(create.power_level_override.clone());
    content
}

/// The content of a topic event, with its rich form.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#mroomtopic>
fn topic_content(topic: &str) -> CanonicalJsonObject {
    let plain = object([("body", text(topic)), ("mimetype", text("text/plain"))]);
    let rich = object([("m.text", CanonicalJsonValue::Array(vec![plain.into()]))]);
    object([("topic", text(topic)), ("m.topic", rich.into())])
}

fn object<const N: usize>(entries: [(&str, CanonicalJsonValue); N]) -> CanonicalJsonObject {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn text(text: &str) -> CanonicalJsonValue {
    CanonicalJsonValue::String(text.to_owned())
}

fn number(number: i32) -> CanonicalJsonValue {
    CanonicalJsonValue::Integer(number.into())
}
