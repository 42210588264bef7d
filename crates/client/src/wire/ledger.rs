//! The ledger: entries, shards, erasures.

use hafen_base::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// One thing that happened, as the ledger keeps it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LedgerEntry {
    /// The log it stands in, as `2026`.
    pub shard: String,
    /// Its place there, from 0.
    pub position: i64,
    /// When it was written down; never goes back from one entry to the next.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// When it happened, by the clock of the service that says so.
    #[schema(value_type = String, format = DateTime)]
    pub happened: Timestamp,
    /// Who says so: `machines`, `stacks`, `calls`, `ledger`, …
    pub service: String,
    /// Its number there.
    pub seq: i64,
    /// `machine.started`, `call.post`, `ledger.erase`, …
    pub kind: String,
    /// `done`, `refused`, `failed` or `unknown`; with the status of a call, as `done 201`.
    pub outcome: String,
    pub project: String,
    /// As `machine/web-1`.
    pub object: String,
    /// Organisation of the actor.
    pub organisation: String,
    /// `person`, `service_account`, `workload`, `local_operator` or `platform`.
    pub actor_kind: String,
    /// Pseudonym of the actor in this shard; empty for the platform.
    pub actor: String,
    /// Who it was; null once erased, and for the platform.
    pub who: Option<LedgerWho>,
    /// Pseudonym of the address it came from.
    pub address: String,
    /// The request, as it stands in the platform's log.
    pub request: String,
    /// What is known beyond the record; null once erased.
    pub what: Option<LedgerWhat>,
    /// The record whose hash stands in the tree, to the byte.
    pub record: String,
}

/// The person behind a pseudonym. Outside of the tree; goes when the person is erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LedgerWho {
    pub id: String,
    pub name: String,
    /// As `session/ses-…`.
    pub credential: String,
    pub address: String,
}

/// Words that may name persons. Outside of the tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LedgerWhat {
    /// Why, in the actor's own words.
    pub reason: String,
    pub message: String,
    #[serde(default)]
    pub data: Value,
}

/// One log: a year of entries, with a tree and a name of its own.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LedgerShard {
    pub name: String,
    /// Its name in checkpoints.
    pub origin: String,
    /// What it takes to verify it: `name+hash+key`.
    pub key: String,
    /// `open`; `closed` when its year is over; `abandoned` when a restored database lost a part of it; `expired`.
    pub state: String,
    /// Entries written down.
    pub size: i64,
    /// Entries that the last signed checkpoint covers.
    pub signed: i64,
    /// The witnesses that cosigned it.
    pub witnesses: Vec<String>,
    /// When all of it is removed.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// Begins another shard, after a database was restored that is older than the last checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LedgerShardCreate {
    /// Written down as the first entry.
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: String,
}

/// Makes a person unreadable.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LedgerErase {
    /// The id of the person, as entries show it in `who.id`.
    #[schema(min_length = 1, max_length = 255)]
    pub person: String,
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: String,
}

/// What an erasure reached.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LedgerErased {
    /// The pseudonyms that stand for nobody any more, as `2026/p-…`.
    pub pseudonyms: Vec<String>,
    /// Entries whose personal part is gone.
    pub entries: i64,
}
