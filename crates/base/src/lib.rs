//! What every other crate may rely on: typed ids, time, randomness, errors, paging, names.
//!
//! This crate does no I/O and knows no service. Time and randomness are *passed in* (`Clock`, `Random`), so that
//! a test can step through hours in milliseconds and replay a failure from its seed; the two `System…` types are
//! the only places in the workspace that touch the real ones.

mod actor;
mod clock;
mod error;
mod id;
mod name;
mod origin;
mod page;
mod permitted;
mod random;

pub use actor::{Actor, ActorKind};
pub use clock::{Clock, SteppedClock, SystemClock, Timestamp};
pub use error::{Error, ErrorKind, FieldProblem, Result};
pub use id::{
    DeployKeyId, EventId, HookId, ImageId, InstanceId, InvitationId, MachineId, MembershipId, NetworkId,
    OperationId, OrganisationId, ParseIdError, PasskeyId, PublicationId, PushId, RepositoryId,
    ServiceAccountId, SessionId, SnapshotId, SshSessionId, TeamId, TokenId, UserId,
};
pub use name::{check_label, check_metadata_key, check_metadata_value};
pub use origin::https_origin;
pub use page::{Page, PageLimit, PageToken};
pub use permitted::{Permitted, Projects, Sight};
pub use random::{Random, SeededRandom, SystemRandom};
