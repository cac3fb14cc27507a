//! Clients' filters: chosen at random once, and kept.

use serde_json::{Value, json};

use crate::dice::Dice;

/// A client's filter, and how it wants the state.
#[derive(Clone, Debug)]
pub(super) struct Wishes {
    pub(super) filter: Value,
    pub(super) use_state_after: bool,
}

impl Wishes {
    pub(super) fn draw(dice: &Dice) -> Self {
        let mut timeline = json!({ "limit": 1 + dice.below(20) });
        match dice.below(6) {
            0 => timeline["not_types"] = json!(["m.room.member"]),
            1 => timeline["types"] = json!(["m.room.message", "m.room.redaction"]),
            2 => timeline["not_types"] = json!(["m.test", "m.room.name"]),
            _ => {}
        }
        let mut state = json!({});
        if dice.chance(50) {
            state["lazy_load_members"] = json!(true);
            state["include_redundant_members"] = json!(dice.chance(20));
        }
        if dice.chance(15) {
            state["not_types"] = json!(["m.test"]);
        }
        let hide = |kind: &str| {
            if dice.chance(10) { json!({ "not_types": [kind] }) } else { json!({}) }
        };
        let room = json!({
            "timeline": timeline,
            "state": state,
            "include_leave": dice.chance(50),
            "ephemeral": hide("m.receipt"),
            "account_data": hide("m.fully_read"),
        });
        let filter = json!({ "room": room, "account_data": hide("m.other") });
        Self { filter, use_state_after: dice.chance(30) }
    }

    fn room(&self) -> &Value {
        &self.filter["room"]
    }

    pub(super) fn timeline(&self) -> &Value {
        &self.room()["timeline"]
    }

    pub(super) fn limit(&self) -> usize {
        usize::try_from(self.timeline()["limit"].as_u64().unwrap()).unwrap()
    }

    pub(super) fn is_lazy(&self) -> bool {
        self.room()["state"]["lazy_load_members"] == true
    }

    pub(super) fn includes_left(&self) -> bool {
        self.room()["include_leave"] == true
    }

    /// Whether the client is sent a type of state.
    pub(super) fn wants_state(&self, kind: &str) -> bool {
        let unwanted = super::events::list(&self.room()["state"]["not_types"]);
        !unwanted.iter().any(|unwanted| unwanted == kind)
    }
}
