//! Machines, their snapshots, leases and certificates.

use std::collections::BTreeMap;

use hafen_base::{InstanceId, MachineId, OperationId, SnapshotId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// When a machine counts as healthy. Exactly one of `http` and `tcp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Path of a GET that must answer 2xx or 3xx on `port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// Connect only.
    #[serde(default)]
    pub tcp: bool,
    #[schema(minimum = 1, maximum = 65535)]
    pub port: u16,
    #[schema(minimum = 100, maximum = 3_600_000)]
    pub interval_ms: i64,
    #[schema(minimum = 100, maximum = 600_000)]
    pub timeout_ms: i64,
    /// Good answers in a row.
    #[schema(minimum = 1, maximum = 100)]
    pub healthy_after: i64,
}

/// One configuration of a machine: a change of it makes a new instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MachineSpec {
    /// Name of an image of the project.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub image: String,
    #[schema(minimum = 1, maximum = 256)]
    pub cpus: i64,
    /// Bytes.
    #[schema(minimum = 134_217_728, maximum = 17_592_186_044_416_i64)]
    pub memory: i64,
    /// Bytes.
    #[schema(minimum = 1_073_741_824, maximum = 1_125_899_906_842_624_i64)]
    pub disk: i64,
    /// Name of a network of the project.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub network: String,
    /// A fixed IPv4 address in the network; chosen when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = Ipv4)]
    pub address: Option<String>,
    /// User data for cloud-init, base 64. Built images need the package `cloud-init` for it; the machine then boots cold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// `warm`: resume from a booted template; `cold`: boot.
    #[serde(default = "default_start")]
    #[schema(pattern = "^(warm|cold)$")]
    pub start: String,
}

/// Metadata as the rules take it: `hafen_base::check_metadata_key` and `check_metadata_value`.
fn metadata_schema() -> utoipa::openapi::schema::Object {
    use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
    let text = |pattern: &str| {
        Schema::Object(
            ObjectBuilder::new().schema_type(SchemaType::new(Type::String)).pattern(Some(pattern)).build(),
        )
    };
    ObjectBuilder::new()
        .property_names(Some(text("^[A-Za-z0-9._/-]{1,63}$")))
        .additional_properties(Some(text("^[^\\u0000-\\u001f\\u007f-\\u009f]*$")))
        .max_properties(Some(64))
        .build()
}

fn default_start() -> String {
    "warm".into()
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "db-1",
    "spec": { "image": "web", "cpus": 1, "memory": 536_870_912, "disk": 4_294_967_296_i64, "network": "backend" },
    "group": "db", "metadata": { "team": "shop" },
    "health": { "tcp": true, "port": 22, "interval_ms": 2000, "timeout_ms": 1000, "healthy_after": 1 },
}))]
pub struct MachineCreate {
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub name: String,
    pub spec: MachineSpec,
    /// The cluster it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub group: Option<String>,
    #[serde(default)]
    #[schema(schema_with = metadata_schema)]
    pub metadata: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Make it, but leave it stopped.
    #[serde(default)]
    pub skip_launch: bool,
    /// Begin cordoned: no publication sends it traffic until a PATCH sets `cordoned` to false.
    #[serde(default)]
    pub skip_registration: bool,
    /// Take a lease in the same step, in seconds; closes the create-then-lock race.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 3600)]
    pub lease_ttl: Option<i64>,
}

/// Replaces the configuration: a new instance when `spec` differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MachinePut {
    pub spec: MachineSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub group: Option<String>,
    #[serde(default)]
    #[schema(schema_with = metadata_schema)]
    pub metadata: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// Changes single fields in place, without a new instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MachinePatch {
    /// Whole new metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = metadata_schema)]
    pub metadata: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// A cordoned machine gets no traffic from publications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordoned: Option<bool>,
}

/// New sizes; the machine is stopped for it and started again. A disk only grows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MachineResize {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 256)]
    pub cpus: Option<i64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 134_217_728, maximum = 17_592_186_044_416_i64)]
    pub memory: Option<i64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1_073_741_824, maximum = 1_125_899_906_842_624_i64)]
    pub disk: Option<i64>,
}

/// States of a machine. Persistent: `started`, `stopped`, `failed`. Terminal: `destroyed`. All others are transient and
/// become `failed` after their limit (5 min; creating and updating 10 min; both without the time an image needs).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MachineState {
    Creating,
    Starting,
    Started,
    Stopping,
    Stopped,
    Updating,
    Destroying,
    Destroyed,
    Failed,
}

impl MachineState {
    pub const ALL: [Self; 9] = [
        Self::Creating,
        Self::Starting,
        Self::Started,
        Self::Stopping,
        Self::Stopped,
        Self::Updating,
        Self::Destroying,
        Self::Destroyed,
        Self::Failed,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Starting => "starting",
            Self::Started => "started",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Updating => "updating",
            Self::Destroying => "destroying",
            Self::Destroyed => "destroyed",
            Self::Failed => "failed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether it stays like this unless something happens.
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Started | Self::Stopped | Self::Failed | Self::Destroyed)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Machine {
    #[schema(value_type = String)]
    pub id: MachineId,
    /// Changes with each configuration.
    #[schema(value_type = String)]
    pub instance_id: InstanceId,
    pub project: String,
    pub name: String,
    pub group: Option<String>,
    pub spec: MachineSpec,
    pub metadata: BTreeMap<String, String>,
    pub health: Option<Health>,
    pub cordoned: bool,
    pub state: MachineState,
    /// `started`, `stopped` or `destroyed`.
    pub wanted_state: String,
    /// Why it is in its state, when that needs words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Health checks pass (or none is asked for and it is started).
    pub healthy: bool,
    /// IPv4 address in its network.
    pub address: Option<String>,
    pub mac: Option<String>,
    /// The guest's boot id.
    pub boot_id: Option<String>,
    /// SHA-256 fingerprint of the SSH host key that it was given.
    pub ssh_host_key: Option<String>,
    /// Digest of the image it runs.
    pub image_digest: Option<String>,
    /// Restarts by self-healing since it was last started on purpose.
    pub restarts: i64,
    #[schema(value_type = Option<String>)]
    pub operation: Option<OperationId>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    pub generation: i64,
    pub observed_generation: i64,
}

/// One configuration that a machine had, or has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineInstance {
    #[schema(value_type = String)]
    pub instance_id: InstanceId,
    /// `current`, or `replaced` by a later one.
    pub state: String,
    /// When it was replaced; null for the current one.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub replaced_at: Option<Timestamp>,
    pub spec: MachineSpec,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseCreate {
    /// Seconds.
    #[schema(minimum = 1, maximum = 3600)]
    pub ttl: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    /// To be sent as `Hafen-Lease-Nonce` with every mutation while the lease holds.
    pub nonce: String,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// A machine just created, with the lease if one was asked for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MachineCreated {
    #[serde(flatten)]
    pub machine: Machine,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotCreate {
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub name: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    #[schema(value_type = String)]
    pub id: SnapshotId,
    pub machine: String,
    pub name: String,
    /// `creating`, `ready`, `failed`, `destroying`.
    pub state: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// Lines of a machine's serial console.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SerialLog {
    pub lines: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SshCertificateCreate {
    /// OpenSSH public key line; Ed25519.
    pub public_key: String,
    /// Seconds the certificate is valid; 300 unless asked, at most 3600.
    #[serde(default = "default_certificate_ttl")]
    #[schema(minimum = 1, maximum = 3600)]
    pub ttl: i64,
}

fn default_certificate_ttl() -> i64 {
    300
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SshCertificate {
    /// OpenSSH certificate line.
    pub certificate: String,
    /// The user to log in as.
    pub user: String,
    /// Public key that signs host certificates, for an `@cert-authority` line.
    pub host_ca: String,
    pub serial: String,
    #[schema(value_type = String, format = DateTime)]
    pub valid_before: Timestamp,
}
