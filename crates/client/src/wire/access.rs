//! SSH: certificates of people, sessions through the bastion, revocations.

use hafen_base::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

fn default_access_ttl() -> i64 {
    600
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessGrantCreate {
    /// OpenSSH public key line; Ed25519.
    pub public_key: String,
    /// Seconds the certificates are valid; 600 unless asked, at most 3600.
    #[serde(default = "default_access_ttl")]
    #[schema(minimum = 1, maximum = 3600)]
    pub ttl: i64,
}

/// Two certificates for one key: one opens the bastion, the other machines behind it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AccessGrant {
    pub bastion: AccessCertificate,
    pub machine: AccessCertificate,
    /// Public key that signs host certificates, for an `@cert-authority` line.
    pub host_ca: String,
    /// Where the bastion listens, as `host:port`; null while none runs.
    pub bastion_address: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub valid_before: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AccessCertificate {
    /// OpenSSH certificate line.
    pub certificate: String,
    /// The user to log in as.
    pub user: String,
    /// Decimal; stands in the logs of bastion and machine.
    pub serial: String,
    pub principals: Vec<String>,
    /// Addresses it is good from; null for any.
    pub source_address: Option<String>,
    /// Why it is good from anywhere, when it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source_reason: String,
}

/// Exactly one of `serial`, `person` and `everything`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevocationCreate {
    /// One certificate, decimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// All certificates of a person, by id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// All certificates there are.
    #[serde(default)]
    pub everything: bool,
    /// For those who read it later.
    #[schema(min_length = 1, max_length = 500)]
    pub reason: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Revocation {
    /// How many certificates are good no more by it.
    pub certificates: i64,
}

/// An SSH certificate that was issued to who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OwnCertificate {
    /// Decimal.
    pub serial: String,
    /// What it opens: `bastion` or `machine`.
    pub place: String,
    /// Whose machines it opens.
    pub projects: Vec<String>,
    /// Null for one from before this was kept.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub issued_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    pub valid_before: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
}

/// One connection through the bastion. Never what was in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccessSession {
    pub id: String,
    /// Id of the person.
    pub person: String,
    pub name: String,
    /// Of the bastion certificate, decimal.
    pub serial: String,
    pub key_id: String,
    pub address: String,
    /// The client's line of identification.
    pub client: String,
    pub host: String,
    pub port: u16,
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// `client`, `target`, `revoked`, `too_long`, `idle`, `stopping`; `lost` when the bastion died; empty while open.
    pub end_reason: String,
    /// Bytes from the client to the machine.
    pub sent: i64,
    /// Bytes from the machine to the client.
    pub received: i64,
}

/// What is known of the ways into a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineIntegrity {
    pub project: String,
    pub machine: String,
    /// `waiting` for the first check; `ok`; `changed`; `unchecked` when it cannot be checked; `off` where no machine is.
    pub state: String,
    /// What is not as it was or should be; at most 200.
    pub findings: Vec<IntegrityFinding>,
    /// Tells one report from another; null before the first.
    pub report: Option<String>,
    /// When it was last checked.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub checked_at: Option<Timestamp>,
    /// When it was last tried.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub tried_at: Option<Timestamp>,
    /// Tries in a row that failed.
    pub failures: i64,
    /// Why the last try failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Since when reports are compared with the same one.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub baseline_at: Option<Timestamp>,
    /// Who accepted it; empty for the first report of a disk.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub baseline_by: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub baseline_reason: String,
}

/// One thing that is not as it was or should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IntegrityFinding {
    /// `sshd` (configuration in force), `ssh` (its files), `key`, `sudo`, `setuid`, `pam`, `unit`, `program`.
    pub kind: String,
    /// A path, or a word of the configuration.
    pub subject: String,
    /// For a person.
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IntegrityAccept {
    /// The report that was looked at, as `report` says; refused when there is another by now.
    #[schema(min_length = 1, max_length = 64)]
    pub report: String,
    /// For those who read it later.
    #[schema(min_length = 1, max_length = 500, pattern = "^[^\\x00]*[^\\s\\x00][^\\x00]*$")]
    pub reason: String,
}
