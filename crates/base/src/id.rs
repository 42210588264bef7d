//! Typed ids, rendered `m-<ulid>`: sortable by creation, and a machine's id never passes for a network's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

use crate::{Random, Timestamp};

/// Why a text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseIdError {
    prefix: &'static str,
}

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected an id of the form {}-<26 characters of Crockford base 32>", self.prefix)
    }
}

impl std::error::Error for ParseIdError {}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Ulid);

        impl $name {
            /// What the rendered form starts with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id from the time and the randomness passed in.
            pub fn generate(now: Timestamp, random: &dyn Random) -> Self {
                let mut bytes = [0_u8; 16];
                random.fill(&mut bytes);
                Self(Ulid::from_parts(now.millis(), u128::from_le_bytes(bytes)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "-{}"), self.0.to_string().to_lowercase())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let error = ParseIdError { prefix: $prefix };
                let rest = text.strip_prefix(concat!($prefix, "-")).ok_or(error.clone())?;
                if rest.len() != 26 || !rest.is_ascii() {
                    return Err(error);
                }
                Ulid::from_string(&rest.to_uppercase()).map(Self).map_err(|_| error)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

typed_id!(
    /// A machine: stable for its whole life.
    MachineId, "m");
typed_id!(
    /// One configuration of a machine: changes with each replacement.
    InstanceId, "i");
typed_id!(ImageId, "img");
typed_id!(NetworkId, "net");
typed_id!(SnapshotId, "snap");
typed_id!(OperationId, "op");
typed_id!(EventId, "ev");
typed_id!(
    /// One connection through the bastion.
    SshSessionId, "ssh");
typed_id!(
    /// A port of a cluster published on the host.
    PublicationId, "pub");
typed_id!(
    /// A person.
    UserId, "u");
typed_id!(
    /// An organisation: a tenant.
    OrganisationId, "org");
typed_id!(TeamId, "team");
typed_id!(ServiceAccountId, "sa");
typed_id!(
    /// A personal or service token.
    TokenId, "tok");
typed_id!(
    /// A sign-in that lasts.
    SessionId, "ses");
typed_id!(
    /// A role that somebody holds somewhere.
    MembershipId, "mem");
typed_id!(InvitationId, "inv");
typed_id!(PasskeyId, "pk");
typed_id!(
    /// A git repository.
    RepositoryId, "repo");
typed_id!(
    /// What was pushed in one go.
    PushId, "push");
typed_id!(DeployKeyId, "key");
typed_id!(HookId, "hook");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededRandom;

    #[test]
    fn an_id_reads_back_and_kinds_do_not_mix() {
        let id = MachineId::generate(Timestamp::from_micros(1_700_000_000_000_000), &SeededRandom::new(1));
        let text = id.to_string();
        assert!(text.starts_with("m-"), "{text}");
        assert_eq!(text.parse::<MachineId>(), Ok(id));
        assert!(text.parse::<ImageId>().is_err());
        for bad in ["", "m-", "m-01", "m-zzzzzzzzzzzzzzzzzzzzzzzzzzé", "01h"] {
            assert!(bad.parse::<MachineId>().is_err(), "{bad}");
        }
    }
}
