//! Tokens for clients: how far a sync has read, and where a page of a room ends.
//!
//! They are opaque to clients. They begin with their kind and the version of their format, so that
//! newer and older nodes recognize them. A token is not tied to its user: it says where to continue
//! reading, never what the reader may see.
//!
//! - [`SyncToken`]: a vector of positions, one for each thing with its own numbering.
//! - [`PaginationToken`]: a gap between two events in a room's [`Order`].
//! - [`RoomToken`]: either of them, for requests that read one room from a token.

use std::{fmt, str::FromStr};

use stoa_base::Pos;
use stoa_storage::repo::events::Order;

use crate::error::RoomError;

/// The error for a string that is not a token of the expected kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token was not issued by this server")]
pub struct InvalidToken;

impl From<InvalidToken> for RoomError {
    fn from(error: InvalidToken) -> Self {
        Self::InvalidParam(error.to_string())
    }
}

/// How far a sync has read: `s1.<log>.<to-device>.<epoch>.<ephemeral>.<quiet>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SyncToken {
    /// The position in the log.
    pub log: Pos,
    /// The position among the device's to-device messages.
    pub to_device: Pos,
    /// What the client knows about typing and presence.
    pub ephemeral: EphemeralPosition,
}

/// A position in the counter of typing and presence, which starts over with each epoch. If the
/// epoch is unknown, the position says nothing, and the reader is given everything current.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EphemeralPosition {
    /// The epoch of the counter.
    pub epoch: i64,
    /// The counter.
    pub version: i64,
    /// Whether the client knows of nobody who is typing.
    pub is_quiet: bool,
}

impl fmt::Display for SyncToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { log, to_device, ephemeral } = self;
        let EphemeralPosition { epoch, version, is_quiet } = ephemeral;
        write!(f, "s1.{log}.{to_device}.{epoch}.{version}.{}", i64::from(*is_quiet))
    }
}

impl FromStr for SyncToken {
    type Err = InvalidToken;

    fn from_str(token: &str) -> Result<Self, InvalidToken> {
        let [log, to_device, epoch, version, quiet] = numbers(token, "s1.")?;
        // Epochs can be any number. Everything that is counted starts at zero.
        if log < 0 || to_device < 0 || version < 0 || !(0..=1).contains(&quiet) {
            return Err(InvalidToken);
        }
        Ok(Self {
            log: Pos(log),
            to_device: Pos(to_device),
            ephemeral: EphemeralPosition { epoch, version, is_quiet: quiet == 1 },
        })
    }
}

/// A gap in a room's order: `t1.<pos>.<depth>.<seq>`. Events at or before this place are before the
/// gap, all others are after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PaginationToken(pub Order);

impl PaginationToken {
    /// The gap right after the event at `order`.
    pub const fn after(order: Order) -> Self {
        Self(order)
    }

    /// The gap right before the event at `order`.
    pub const fn before(order: Order) -> Self {
        Self(Order { seq: order.seq.saturating_sub(1), ..order })
    }
}

impl fmt::Display for PaginationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Order { pos, depth, seq } = self.0;
        write!(f, "t1.{pos}.{depth}.{seq}")
    }
}

impl FromStr for PaginationToken {
    type Err = InvalidToken;

    fn from_str(token: &str) -> Result<Self, InvalidToken> {
        let [pos, depth, seq] = numbers(token, "t1.")?;
        Ok(Self(Order { pos, depth, seq }))
    }
}

/// A token of either kind, from which to read a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomToken {
    /// A sync has read up to here.
    Sync(SyncToken),
    /// A page ends here.
    Pagination(PaginationToken),
}

impl RoomToken {
    /// The gap in the order of any room that the token stands for.
    pub const fn order(self) -> Order {
        match self {
            Self::Sync(token) => Order::after(token.log),
            Self::Pagination(token) => token.0,
        }
    }
}

impl FromStr for RoomToken {
    type Err = InvalidToken;

    fn from_str(token: &str) -> Result<Self, InvalidToken> {
        token.parse().map(Self::Sync).or_else(|InvalidToken| token.parse().map(Self::Pagination))
    }
}

/// Parses the `N` numbers of a token with this prefix, and nothing else.
fn numbers<const N: usize>(token: &str, prefix: &str) -> Result<[i64; N], InvalidToken> {
    let mut fields = token.strip_prefix(prefix).ok_or(InvalidToken)?.split('.');
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = fields.next().and_then(|field| field.parse().ok()).ok_or(InvalidToken)?;
    }
    fields.next().is_none().then_some(numbers).ok_or(InvalidToken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: SyncToken = SyncToken {
        log: Pos(17),
        to_device: Pos(3),
        ephemeral: EphemeralPosition { epoch: -5, version: 9, is_quiet: true },
    };

    #[test]
    fn tokens_can_be_written_and_parsed_again() {
        assert_eq!(SYNC.to_string().parse(), Ok(SYNC));
        for order in
            [Order::START, Order::END, Order::after(Pos(4)), Order { pos: 4, depth: 12, seq: -1 }]
        {
            let token = PaginationToken::after(order);
            assert_eq!(token.to_string().parse(), Ok(token));
        }
    }

    #[test]
    fn a_room_can_be_read_from_either_kind_of_token() {
        let sync: RoomToken = SYNC.to_string().parse().unwrap();
        assert_eq!(sync.order(), Order::after(Pos(17)));
        let order = Order { pos: 4, depth: i64::MAX, seq: 0 };
        let page: RoomToken = PaginationToken::before(order).to_string().parse().unwrap();
        assert!(page.order() < order);
        assert!(page.order() > Order::after(Pos(3)));
    }

    #[test]
    fn other_strings_are_not_tokens() {
        for text in [
            "",
            "s1",
            "s1.",
            "s1.1.2.3.4",
            "s1.1.2.3.4.1.6",
            "s1.-1.0.0.0.1",
            "s1.1.0.0.x.1",
            "s1.1.0.0.0.2",
            "s2.1.0.0.0.1",
            "t1.1.2",
            "t1.1.2.99999999999999999999",
            "17",
        ] {
            assert_eq!(text.parse::<RoomToken>(), Err(InvalidToken), "{text}");
        }
        assert_eq!("t1.1.2.3".parse::<SyncToken>(), Err(InvalidToken));
        assert_eq!("s1.1.2.3.4.1".parse::<PaginationToken>(), Err(InvalidToken));
    }
}
