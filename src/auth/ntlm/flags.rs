//! The flags by which the two sides agree on what they do. //= MS-NLMP 2.2.2.5

use std::fmt;
use std::ops::{BitAnd, BitOr};

/// A set of NTLM's negotiate flags. Bits without a name here are carried and never looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    /// Strings are UTF-16LE.
    pub const UNICODE: Self = Self(0x0000_0001);
    /// Strings are in the client's own character set.
    pub const OEM: Self = Self(0x0000_0002);
    /// The challenge is to name its target.
    pub const REQUEST_TARGET: Self = Self(0x0000_0004);
    /// Messages can be signed.
    pub const SIGN: Self = Self(0x0000_0010);
    /// Messages can be sealed.
    pub const SEAL: Self = Self(0x0000_0020);
    /// NTLM itself.
    pub const NTLM: Self = Self(0x0000_0200);
    /// The client says that it is nobody.
    pub const ANONYMOUS: Self = Self(0x0000_0800);
    /// Signatures even where neither side asks for them.
    pub const ALWAYS_SIGN: Self = Self(0x0000_8000);
    /// The target is a server, not a domain.
    pub const TARGET_TYPE_SERVER: Self = Self(0x0002_0000);
    /// Extended session security: keys and sequence numbers for each direction.
    pub const EXTENDED_SESSION_SECURITY: Self = Self(0x0008_0000);
    /// The challenge carries AV pairs.
    pub const TARGET_INFO: Self = Self(0x0080_0000);
    /// Messages carry a version.
    pub const VERSION: Self = Self(0x0200_0000);
    /// Keys of 128 bits.
    pub const KEY_128: Self = Self(0x2000_0000);
    /// The client chooses the session key.
    pub const KEY_EXCHANGE: Self = Self(0x4000_0000);
    /// Keys of 56 bits. Granted, since some clients ask for it together with 128, and never used.
    pub const KEY_56: Self = Self(0x8000_0000);

    /// Whether all flags of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Flags {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Flags({:#010x})", self.0)
    }
}
