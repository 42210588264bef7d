//! Secrets of a project. Only `SecretValue` carries one out, and only the answer to a reading with a reason is that.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hafen_base::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::Secret;

/// How the bytes of a secret stand in JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretEncoding {
    /// As they are: UTF-8 without NUL.
    #[default]
    Text,
    Base64,
}

/// A new secret, with its first version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "db-password", "value": "correct horse battery staple" }))]
pub struct SecretCreate {
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub name: String,
    /// 1 to 65,536 bytes.
    #[schema(value_type = String, min_length = 1, max_length = 87_384, pattern = "^[^\\x00]*$")]
    pub value: Secret<String>,
    #[serde(default)]
    pub encoding: SecretEncoding,
}

/// A new version of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretVersionCreate {
    /// 1 to 65,536 bytes.
    #[schema(value_type = String, min_length = 1, max_length = 87_384, pattern = "^[^\\x00]*$")]
    pub value: Secret<String>,
    #[serde(default)]
    pub encoding: SecretEncoding,
}

/// A secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretInfo {
    pub project: String,
    pub name: String,
    /// Number of the version that is given out when none is asked for.
    pub current: i64,
    /// Newest first.
    pub versions: Vec<SecretVersion>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Id of who made it.
    pub created_by: String,
    /// When a value of it was last given out; null for never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_read: Option<Timestamp>,
    pub generation: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretVersion {
    /// 1, 2, 3, …
    pub version: i64,
    /// `current`, `previous`, `destroyed`: its value is gone for good.
    pub state: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Id of who made it.
    pub created_by: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_read: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub destroyed_at: Option<Timestamp>,
    /// Id of who destroyed it; empty while it is there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub destroyed_by: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRead {
    /// The current one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub version: Option<i64>,
    /// For those who read it later: it stands in the ledger.
    #[schema(min_length = 1, max_length = 500, pattern = "^[^\\x00]*[^\\s\\x00][^\\x00]*$")]
    pub reason: String,
}

/// A secret in clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretValue {
    pub version: i64,
    #[schema(value_type = String)]
    pub value: Secret<String>,
    pub encoding: SecretEncoding,
}

impl SecretValue {
    /// The bytes themselves.
    ///
    /// # Errors
    /// Internal when the answer is not what its encoding says.
    pub fn bytes(&self) -> Result<Zeroizing<Vec<u8>>> {
        let text = self.value.expose();
        match self.encoding {
            SecretEncoding::Text => Ok(Zeroizing::new(text.as_bytes().to_vec())),
            SecretEncoding::Base64 => STANDARD
                .decode(text)
                .map(Zeroizing::new)
                .map_err(|_| Error::internal("a value is not base 64")),
        }
    }
}
