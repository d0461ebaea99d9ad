//! The KMIP protocol version: an ordered pair that decides the dialect.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// A KMIP protocol version, ordered: `Version::V1_4 < Version::V2_0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Protocol Version Major.
    pub major: u16,
    /// Protocol Version Minor.
    pub minor: u16,
}

impl Version {
    /// KMIP 1.0.
    pub const V1_0: Version = Version { major: 1, minor: 0 };
    /// KMIP 1.1.
    pub const V1_1: Version = Version { major: 1, minor: 1 };
    /// KMIP 1.2.
    pub const V1_2: Version = Version { major: 1, minor: 2 };
    /// KMIP 1.3.
    pub const V1_3: Version = Version { major: 1, minor: 3 };
    /// KMIP 1.4.
    pub const V1_4: Version = Version { major: 1, minor: 4 };
    /// KMIP 2.0.
    pub const V2_0: Version = Version { major: 2, minor: 0 };
    /// KMIP 2.1.
    pub const V2_1: Version = Version { major: 2, minor: 1 };

    /// Every version this crate speaks, newest first.
    pub const ALL: [Version; 7] = [
        Version::V2_1,
        Version::V2_0,
        Version::V1_4,
        Version::V1_3,
        Version::V1_2,
        Version::V1_1,
        Version::V1_0,
    ];

    /// True in the 2.x dialect, where attributes are typed tags instead of name and value.
    pub fn typed_attributes(self) -> bool {
        self.major >= 2
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Version {
    type Err = Error;

    /// Accepts exactly the versions of [`Version::ALL`].
    fn from_str(s: &str) -> Result<Version, Error> {
        Version::ALL
            .into_iter()
            .find(|v| v.to_string() == s)
            .ok_or_else(|| {
                Error::input(format!(
                    "'{s}' is not a KMIP version: use one of 1.0, 1.1, 1.2, 1.3, 1.4, 2.0, 2.1"
                ))
            })
    }
}
