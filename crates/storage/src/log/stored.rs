//! How enums are stored in the database: by number or by name.

use serde::{
    Deserialize,
    de::value::{Error, StrDeserializer},
};

/// Declares an enum whose variants are stored, and put into a batch, as numbers.
macro_rules! stored_as_number {
    ($(#[$meta:meta])* $type:ident { $($(#[$doc:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type {
            $($(#[$doc])* $variant,)*
        }

        impl $type {
            /// The number that is stored.
            pub const fn to_number(self) -> i64 {
                match self {
                    $(Self::$variant => $number,)*
                }
            }

            /// Reads the stored number.
            pub const fn from_number(number: i64) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_i64(self.to_number())
            }
        }
    };
}

pub(super) use stored_as_number;

/// Reads the name under which serde writes a variant.
pub(super) fn from_name<'a, T: Deserialize<'a>>(name: &'a str) -> Result<T, Error> {
    T::deserialize(StrDeserializer::new(name))
}
