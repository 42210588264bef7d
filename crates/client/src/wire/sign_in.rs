//! Signing in, sessions, tokens.

use hafen_base::{OrganisationId, PasskeyId, SessionId, Timestamp, TokenId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Person;

/// First step of accepting an invitation.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InvitationBegin {
    #[schema(min_length = 1, max_length = 100)]
    pub token: String,
}

/// What the invited person needs to set itself up.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct InvitationBegun {
    /// To be sent back with `accept`.
    pub ceremony: String,
    pub organisation: String,
    /// Fixed by the invitation; empty when it may be chosen.
    pub login: String,
    pub role: String,
    /// For an authenticator app, by hand.
    pub totp_secret: String,
    /// For an authenticator app, as a QR code.
    pub totp_uri: String,
}

/// Second step: sets name, login, password and one-time codes. A passkey can take the place of both: see `sign-in/passkeys`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InvitationAccept {
    #[schema(min_length = 1, max_length = 100)]
    pub ceremony: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub login: Option<String>,
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 256)]
    pub password: Option<String>,
    /// The code that the app shows for `totp_secret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 16)]
    pub totp: Option<String>,
    /// What `navigator.credentials.create` gave for `invitations/passkey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub passkey: Option<Value>,
}

/// A person that has just set itself up, signed in.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct InvitationAccepted {
    pub person: Person,
    pub session: SessionCreated,
    /// Each is good once, in place of a one-time code. Shown once.
    pub recovery_codes: Vec<String>,
}

#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInPassword {
    /// Name of the organisation; `default` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 63)]
    pub organisation: Option<String>,
    #[schema(min_length = 1, max_length = 200)]
    pub login: String,
    #[schema(max_length = 1000)]
    pub password: String,
    /// A token of `Hafen-Device`, as an earlier sign-in gave it; with `session=cookie` that of the cookie, unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 100)]
    pub device: Option<String>,
}

/// The password was right, and something is still missing; or all is done.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct SignInStep {
    /// `second_factor` or `done`
    pub state: String,
    /// To be sent back with the second factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceremony: Option<String>,
    /// What may be sent: `totp`, `recovery_code`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub factors: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionCreated>,
}

#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInSecondFactor {
    #[schema(min_length = 1, max_length = 100)]
    pub ceremony: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 16)]
    pub totp: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub recovery_code: Option<String>,
}

/// Options for the browser's WebAuthn call.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct PasskeyOptions {
    /// To be sent back with the credential.
    pub ceremony: String,
    /// For `navigator.credentials.create` or `.get` (W3C WebAuthn, level 3).
    #[schema(value_type = Object)]
    pub options: Value,
}

#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasskeyAnswer {
    #[schema(min_length = 1, max_length = 100)]
    pub ceremony: String,
    /// What the browser's WebAuthn call gave.
    #[schema(value_type = Object)]
    pub credential: Value,
    /// A name for a new passkey, as `Laptop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Passkey {
    #[schema(value_type = String)]
    pub id: PasskeyId,
    pub name: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Timestamp>,
}

/// A session, and the only answer that holds its secret.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct SessionCreated {
    pub session: Session,
    /// `Authorization: Bearer …`; empty where the session is a cookie.
    pub token: String,
    /// Proves later that this device signed in before, so that others cannot slow its owner down; empty where it is a cookie.
    pub device: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    #[schema(value_type = String)]
    pub id: SessionId,
    pub subject: String,
    /// The client, as it names itself.
    pub client: String,
    pub address: String,
    /// `password`, `totp`, `recovery_code`, `passkey`, `external`
    pub factors: Vec<String>,
    /// The session that asks.
    pub current: bool,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub last_used_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub step_up_until: Option<Timestamp>,
}

/// A second factor, proven again.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StepUp {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 16)]
    pub totp: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub recovery_code: Option<String>,
    /// Of `sign-in/passkey/options`, with `credential`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 100)]
    pub ceremony: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub credential: Option<Value>,
}

/// Who asks, as the platform sees it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// `person`, `service_account`, `workload`, `local_operator`
    pub kind: String,
    pub id: String,
    pub name: String,
    /// What a person signs in with; null for others.
    #[serde(default)]
    pub login: Option<String>,
    #[schema(value_type = String)]
    pub organisation: OrganisationId,
    #[serde(default)]
    pub organisation_name: String,
    #[serde(default)]
    pub organisation_title: String,
    pub credential: String,
    pub roles: Vec<Held>,
    pub scopes: Option<Vec<String>>,
    pub projects: Option<Vec<String>>,
    /// Two factors were proven.
    pub strong: bool,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub step_up_until: Option<Timestamp>,
    /// Answers for the platform: may see all tenants.
    #[serde(default)]
    pub platform: bool,
    /// How a person can sign in: `password`, `totp`, `passkey`, `recovery_codes`.
    #[serde(default)]
    pub factors: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Held {
    pub scope: String,
    pub role: String,
}

#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    #[schema(max_length = 1000)]
    pub current: String,
    #[schema(max_length = 1000)]
    pub new: String,
}

/// New one-time codes: the secret, to be confirmed with a code.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct TotpBegun {
    pub ceremony: String,
    pub secret: String,
    pub uri: String,
}

#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TotpConfirm {
    #[schema(min_length = 1, max_length = 100)]
    pub ceremony: String,
    #[schema(max_length = 16)]
    pub totp: String,
}

#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct RecoveryCodes {
    /// Shown once; earlier ones no longer count.
    pub codes: Vec<String>,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccessToken {
    #[schema(value_type = String)]
    pub id: TokenId,
    /// Whose: `u-…` or `sa-…`
    pub subject: String,
    pub name: String,
    /// Permissions it is limited to; all of its owner's when absent.
    pub scopes: Option<Vec<String>>,
    /// Projects it is limited to; all of its owner's when absent.
    pub projects: Option<Vec<String>>,
    /// `active`; `rotating`: replaced, and not yet seen to fail; `ended`: seen to fail; `revoked`; `expired`.
    pub status: String,
    /// The token that took its place.
    #[schema(value_type = Option<String>)]
    pub replaced_by: Option<TokenId>,
    /// When and by what it was seen to fail: `presented` or `platform`.
    pub proof: Option<EndProof>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// To the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Timestamp>,
}

/// How it is known that a credential no longer opens anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndProof {
    /// `presented`: somebody presented it and was refused; `platform`: the platform tried it and was refused.
    pub by: String,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenCreate {
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// A service account (id or name); the caller when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub service_account: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 200)]
    pub scopes: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 1000)]
    pub projects: Option<Vec<String>>,
    /// 90 unless given; a year at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 366)]
    pub days: Option<i64>,
}

/// The only answer that holds the token's secret.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenCreated {
    pub token: AccessToken,
    pub secret: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRotate {
    /// Minutes for which the old one still opens; 0 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 10_080)]
    pub overlap_minutes: Option<i64>,
}
