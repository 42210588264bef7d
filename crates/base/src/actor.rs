//! Who acts: carried beside a request from the edge to the log of what happened.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What kind of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    Person,
    ServiceAccount,
    /// A CI job or the like that traded its own issuer's token.
    Workload,
    /// Whoever owns the platform's home, over its local socket.
    LocalOperator,
    /// The platform itself, by what somebody wished earlier.
    Platform,
}

impl ActorKind {
    /// As it is written down.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::ServiceAccount => "service_account",
            Self::Workload => "workload",
            Self::LocalOperator => "local_operator",
            Self::Platform => "platform",
        }
    }
}

/// Who acts, by what right, and from where. Holds no secret: `credential` names one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Actor {
    pub kind: ActorKind,
    /// As `u-…`, `sa-…`, `uid-1000`; stays when the name changes.
    pub id: String,
    /// For a person to read. Personal data.
    pub name: String,
    /// Of the organisation it acts in; empty for the local operator and the platform.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub organisation: String,
    /// As `session/ses-…`, `token/tok-…`, `socket`, `certificate/4711`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub credential: String,
    /// IP address it came from. Personal data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// Why, in its own words, where an act asks for a reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

tokio::task_local! {
    static ACTING: Actor;
}

impl Actor {
    /// The platform itself.
    #[must_use]
    pub fn platform() -> Self {
        Self {
            kind: ActorKind::Platform,
            id: "platform".into(),
            name: "Hafen".into(),
            organisation: String::new(),
            credential: String::new(),
            address: None,
            request_id: String::new(),
            reason: String::new(),
        }
    }

    /// Runs `work` as done by this actor. A task spawned within is done by the platform again: it outlives the request.
    pub async fn acts<T>(self, work: impl Future<Output = T>) -> T {
        ACTING.scope(self, work).await
    }

    /// Who acts in this task; the platform, where nobody was named.
    #[must_use]
    pub fn current() -> Self {
        ACTING.try_with(Clone::clone).unwrap_or_else(|_| Self::platform())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_act_is_somebodys_until_it_ends() {
        let person = Actor { kind: ActorKind::Person, id: "u-1".into(), ..Actor::platform() };
        let seen =
            person.clone().acts(async { (Actor::current(), tokio::spawn(async { Actor::current() }).await) });
        let (inside, spawned) = seen.await;
        assert_eq!(inside, person);
        assert_eq!(spawned.unwrap(), Actor::platform());
        assert_eq!(Actor::current(), Actor::platform());
        let text = serde_json::to_string(&person).unwrap();
        assert!(!text.contains("address") && text.contains("\"person\""), "{text}");
        assert_eq!(serde_json::from_str::<Actor>(&text).unwrap(), person);
    }
}
