//! Open numbers: protocol values as newtypes with named constants, never closed enumerations.

/// Declares a `u16` newtype with constants, their texts and a `Debug` form such as `RUNNING(4)`.
macro_rules! open_number {
    ($(#[$meta:meta])* $name:ident { $( $constant:ident = $value:literal => $text:literal, )* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u16);

        impl $name {
            $(
                #[doc = $text]
                pub const $constant: Self = Self($value);
            )*

            /// Every named value: its constant's name and its number, in declaration order.
            pub const DECLARED: &'static [(&'static str, u16)] = &[ $( (stringify!($constant), $value), )* ];

            /// The text of a named value; none for a number that has no name here.
            #[must_use]
            pub const fn text(self) -> Option<&'static str> {
                match self.0 {
                    $( $value => Some($text), )*
                    _ => None,
                }
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let found = Self::DECLARED.iter().find(|(_, value)| *value == self.0);
                let name = found.map_or("UNNAMED", |(name, _)| name);
                write!(formatter, "{name}({})", self.0)
            }
        }

        impl std::fmt::Display for $name {
            /// The text and the number, for messages to people: `Running (4)`.
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "{} ({})", self.text().unwrap_or("Unnamed"), self.0)
            }
        }
    };
}

pub(crate) use open_number;
