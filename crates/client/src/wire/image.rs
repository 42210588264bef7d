//! Images: built from packages, or taken from a file or URL with a required digest.

use std::collections::BTreeMap;

use hafen_base::{ImageId, OperationId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A file put into an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageFile {
    /// Content, base 64.
    pub content: String,
    /// Octal, as `0644`.
    #[serde(default = "default_mode")]
    pub mode: String,
}

fn default_mode() -> String {
    "0644".into()
}

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ImageSource {
    /// Built with mmdebstrap.
    Debian {
        release: String,
        #[serde(default)]
        packages: Vec<String>,
        /// By absolute path.
        #[serde(default)]
        files: BTreeMap<String, ImageFile>,
    },
    /// A ready cloud image, booted by firmware and configured by cloud-init.
    Cloud {
        /// `https://…`, or the absolute path of a file on the platform's host.
        location: String,
        sha256: String,
        /// `bios` or `uefi`.
        #[serde(default = "default_firmware")]
        firmware: String,
    },
}

fn default_firmware() -> String {
    "bios".into()
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "web",
    "source": { "kind": "debian", "release": "trixie", "packages": ["nginx-light"] },
}))]
pub struct ImageCreate {
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub name: String,
    pub source: ImageSource,
    /// The lock of an earlier build: exactly its packages are used. One that was made for other packages than `source` asks
    /// for is not used: they are resolved anew, and the image has a new lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Image {
    #[schema(value_type = String)]
    pub id: ImageId,
    pub project: String,
    pub name: String,
    pub source: ImageSource,
    /// `building`, `ready`, `failed`, `destroying`.
    pub state: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// `sha256-…` of the image's parts; empty until it is ready.
    pub digest: String,
    /// Every package, version and SHA-256; empty until it is ready.
    pub lock: String,
    /// Bytes on disk.
    pub size: i64,
    #[schema(value_type = Option<String>)]
    pub operation: Option<OperationId>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub generation: i64,
    pub observed_generation: i64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageGc {
    /// Only say what would go.
    #[serde(default)]
    pub dry_run: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ImageGcReport {
    /// Digests removed.
    pub removed: Vec<String>,
    /// Bytes freed.
    pub freed: i64,
    pub dry_run: bool,
}
