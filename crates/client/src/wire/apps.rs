//! Apps: what is wanted of one, its builds, releases and deployments.

use std::collections::{BTreeMap, BTreeSet};

use hafen_base::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The metadata that tells a builder's machine from those that people want.
pub const BUILD_KEY: &str = "hafen.build";
/// The platform's own network for builds, with no way out: there while something is built and no network `build` is declared.
pub const BUILD_NETWORK: &str = "hafen-build";

/// Where the source of an app comes from. Exactly one of `repository` and `git`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppSource {
    /// Name of a repository of the project, hosted here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub repository: Option<String>,
    /// URL of a repository elsewhere, `https://…`; a hook says when something was pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^https://[!-~]{1,1000}$")]
    pub git: Option<String>,
    /// What is pushed to this branch is deployed; `main` unless given.
    #[serde(default = "default_branch")]
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$")]
    pub branch: String,
    /// With `git` only, for a private one: the secret that is its password. The platform alone uses it, for the origin of
    /// `git` alone: builds and processes never have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretReference>,
    /// Who the token is of, with `token` only; `git` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[!-9;-~]{1,128}$")]
    pub username: Option<String>,
}

impl AppSource {
    /// Whether it is the same commits, however one comes in.
    pub fn is_same_place(&self, other: &Self) -> bool {
        (&self.repository, &self.git, &self.branch) == (&other.repository, &other.git, &other.branch)
    }
}

fn default_branch() -> String {
    "main".into()
}

/// How the source becomes what runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppBuild {
    /// Name of an image of the project: the builder boots from it.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub image: String,
    /// Commands, one after another, each by `sh -ec` in the source's folder.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub run: Vec<String>,
    /// The folder that is kept, relative to the source; `.` for all of it. Its content is the root of the release.
    #[serde(default = "default_output")]
    #[schema(min_length = 1, max_length = 1024, pattern = "^[^\\x00]*$")]
    pub output: String,
    /// Folders kept from build to build, relative to the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 16)]
    pub cache: Vec<String>,
    /// What the commands find in their environment. A secret is the file `$CREDENTIALS_DIRECTORY/NAME` as well. Builds of
    /// previews get no secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(schema_with = env_schema)]
    pub env: BTreeMap<String, AppEnv>,
    /// The build is ended after this time; 10 minutes unless given.
    #[serde(default = "default_build_timeout")]
    #[schema(minimum = 1000, maximum = 86_400_000)]
    pub timeout_ms: i64,
}

fn default_output() -> String {
    ".".into()
}

const fn default_build_timeout() -> i64 {
    600_000
}

/// When a process counts as healthy: a GET of `path` on its port answers 2xx or 3xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppHealth {
    #[schema(pattern = "^/[!-~]{0,1023}$")]
    pub path: String,
    /// Good answers in a row.
    #[serde(default = "default_healthy_after")]
    #[schema(minimum = 1, maximum = 100)]
    pub healthy_after: i64,
    #[serde(default = "default_interval")]
    #[schema(minimum = 100, maximum = 3_600_000)]
    pub interval_ms: i64,
    #[serde(default = "default_timeout")]
    #[schema(minimum = 100, maximum = 600_000)]
    pub timeout_ms: i64,
}

const fn default_healthy_after() -> i64 {
    1
}

const fn default_interval() -> i64 {
    2000
}

const fn default_timeout() -> i64 {
    1000
}

/// How a release takes the place of the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AppStrategy {
    /// One process after the other.
    #[default]
    Rolling,
    /// All processes beside the old ones, then traffic moves at once.
    BlueGreen,
}

impl AppStrategy {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::BlueGreen => "blue-green",
        }
    }
}

/// Names a secret of the project's vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretReference {
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub secret: String,
}

/// One variable of the environment of an app or a build: a text, or a secret by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AppEnv {
    /// At most 32 KiB.
    Text(String),
    Secret(SecretReference),
}

/// Branches that get an environment of their own, for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppPreview {
    /// Patterns of branches, as `feature/*`; `*` stands for anything.
    #[schema(min_items = 1, max_items = 64)]
    pub branches: Vec<String>,
    /// An environment ends so long after the last push to its branch; 7 days unless given.
    #[serde(default = "default_expires")]
    #[schema(minimum = 60_000, maximum = 31_536_000_000_i64)]
    pub expires_ms: i64,
    /// It answers at `APP-BRANCH.DOMAIN`; at `APP-BRANCH.PROJECT.localhost` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[a-z0-9]([a-z0-9.-]{0,180}[a-z0-9])?$")]
    pub domain: Option<String>,
}

const fn default_expires() -> i64 {
    7 * 24 * 3_600_000
}

/// The environment as the rules take it.
fn env_schema() -> utoipa::openapi::schema::Object {
    use utoipa::PartialSchema as _;
    use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type};
    let text = |pattern: &str| {
        Schema::Object(
            ObjectBuilder::new().schema_type(SchemaType::new(Type::String)).pattern(Some(pattern)).build(),
        )
    };
    let value =
        OneOfBuilder::new().item(text("^[^\\u0000]{0,8192}$")).item(SecretReference::schema()).build();
    ObjectBuilder::new()
        .property_names(Some(text("^[A-Za-z_][A-Za-z0-9_]{0,127}$")))
        .additional_properties(Some(Schema::OneOf(value)))
        .max_properties(Some(256))
        .build()
}

/// What is wanted of an app. Exactly one of `run` and `static`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "source": { "repository": "shop" },
    "build": { "image": "builder", "run": ["make dist"], "output": "dist", "cache": ["target"] },
    "on": "web", "run": "./shop --port $PORT", "port": 8080, "replicas": 4,
    "health": { "path": "/healthz", "healthy_after": 2 }, "migrate": "./shop migrate",
    "env": { "LOG": "info", "DB_PASSWORD": { "secret": "db-password" } },
}))]
pub struct AppSpec {
    pub source: AppSource,
    /// Without it the source is what runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<AppBuild>,
    /// The cluster (or machine) that it runs on.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub on: String,
    /// The command of a process, by `sh -c` in the release's folder; `$PORT` is where it has to listen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 4096, pattern = "^[^\\x00]*$")]
    pub run: Option<String>,
    /// The folder of files to serve, relative to the release; `.` for all of it.
    #[serde(default, rename = "static", skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 1024, pattern = "^[^\\x00]*$")]
    pub static_files: Option<String>,
    /// The first port that its processes get on a machine; more of them there get the ports after it. 8080 unless given.
    #[serde(default = "default_port")]
    #[schema(minimum = 1, maximum = 65535)]
    pub port: u16,
    /// Processes over the cluster; 1 unless given.
    #[serde(default = "default_replicas")]
    #[schema(minimum = 0, maximum = 1000)]
    pub replicas: i64,
    /// Without it a process counts as healthy when its port takes a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<AppHealth>,
    #[serde(default)]
    pub strategy: AppStrategy,
    /// Runs once per release, before traffic moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 4096, pattern = "^[^\\x00]*$")]
    pub migrate: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(schema_with = env_schema)]
    pub env: BTreeMap<String, AppEnv>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<AppPreview>,
}

const fn default_port() -> u16 {
    8080
}

const fn default_replicas() -> i64 {
    1
}

impl AppEnv {
    /// The name of the secret, of one that is none of a text.
    pub fn secret(&self) -> Option<&str> {
        match self {
            Self::Text(_) => None,
            Self::Secret(reference) => Some(&reference.secret),
        }
    }
}

impl AppBuild {
    /// Names of the secrets that its environment asks for; each once.
    pub fn secrets(&self) -> BTreeSet<&str> {
        self.env.values().filter_map(AppEnv::secret).collect()
    }
}

impl AppSpec {
    /// Names of the secrets that it asks for, in its environment and that of its build and for its source; each once.
    pub fn secrets(&self) -> BTreeSet<&str> {
        let mut all = self.secrets_on_machines();
        all.extend(self.source.token.iter().map(|token| token.secret.as_str()));
        all
    }

    /// Those that come to machines, where what it runs has them.
    pub fn secrets_on_machines(&self) -> BTreeSet<&str> {
        let mut all: BTreeSet<&str> = self.env.values().filter_map(AppEnv::secret).collect();
        all.extend(self.build.iter().flat_map(AppBuild::secrets));
        all
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct App {
    pub project: String,
    pub name: String,
    pub spec: AppSpec,
    /// `empty` (no release yet), `deploying`, `running`, `degraded` (too few healthy processes), `failed` (its last
    /// deployment did), `destroying`.
    pub state: String,
    /// Why, when that needs words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Number of the release that serves; null before the first.
    pub release: Option<i64>,
    /// The deployment under way, else the last.
    pub deployment: Option<String>,
    pub processes: Vec<AppProcess>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    pub generation: i64,
    /// The generation that reality was last brought to.
    pub observed_generation: i64,
}

/// One process of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppProcess {
    /// As `web-1-r3-0`; its endpoint at the edge has the same.
    /// As `web-1-d7-0`: the machine, the deployment that placed it, its position; its endpoint at the edge has the same.
    pub id: String,
    pub release: i64,
    pub machine: String,
    pub port: u16,
    /// `starting`, `healthy`, `unhealthy`, `draining`, `stopped`.
    pub state: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How often it was restarted after a failure.
    pub restarts: i64,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
}

/// A build: a function of commit, image, commands, environment and versions of secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Build {
    pub id: String,
    pub app: String,
    pub commit: String,
    /// Digest of the builder's image; null before it is known.
    pub image_digest: Option<String>,
    /// `queued`, `running`, `succeeded`, `failed`, `cancelled`.
    pub state: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// SHA-256 of the artefact (tar.zst), once there is one.
    pub artifact: Option<String>,
    /// Bytes of it.
    pub size: Option<i64>,
    /// The secrets that it gets, and in which version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, i64>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
}

/// What was or can be deployed; never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Release {
    /// 1, 2, 3, … of each app.
    pub number: i64,
    pub app: String,
    pub commit: String,
    /// The build that made it; null where nothing was built.
    pub build: Option<String>,
    /// SHA-256 of what runs.
    pub artifact: String,
    /// As it was when the release was made.
    pub spec: AppSpec,
    /// Whether its artefact is still kept: only then one can go back to it.
    pub kept: bool,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Id of who made it.
    pub created_by: String,
}

/// Takes a release into service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    pub id: String,
    pub app: String,
    /// `deploy`, `rollback`, `scale`, `restart`, `configure`.
    pub kind: String,
    /// `queued`, `building`, `migrating`, `rolling`, `succeeded`, `failed`, `rolled_back` (it failed, and the release before
    /// serves again), `superseded`, `cancelled`.
    pub state: String,
    /// Why it failed: the probe's answer. What the process said last is at `…/log`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
    pub commit: Option<String>,
    pub build: Option<String>,
    pub release: Option<i64>,
    /// What served when it began.
    pub previous_release: Option<i64>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// Id of who began it.
    pub created_by: String,
}

/// At most one of the three; none deploys the head of the app's branch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeploymentCreate {
    /// A branch or tag.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$")]
    pub git_ref: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^([0-9a-f]{40}|[0-9a-f]{64})$")]
    pub commit: Option<String>,
    /// Number of a kept release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub release: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppRollback {
    /// Number of a kept release; the one before the present one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub release: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppScale {
    #[schema(minimum = 0, maximum = 1000)]
    pub replicas: i64,
}

/// A command for where a process of an app is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppExec {
    /// By `sh -c` in the release's folder.
    #[schema(min_length = 1, max_length = 4096, pattern = "^[^\\x00]*[^\\s\\x00][^\\x00]*$")]
    pub command: String,
    /// As `web-1-d7-0`; one that serves when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub process: Option<String>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppExecuted {
    /// Where it ran.
    pub process: String,
    /// Null when a signal ended it.
    pub status: Option<i64>,
    /// What it said on its standard output; at most a mebibyte.
    pub output: String,
    /// The first of what it said on its standard error.
    pub errors: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn defaults_and_environment() {
        let spec: AppSpec = serde_json::from_str(
            r#"{"source":{"repository":"shop"},"on":"web","static":"dist","env":{"LOG":"info","DB":{"secret":"db"},"DB2":{"secret":"db"}}}"#,
        )
        .unwrap();
        assert_eq!((spec.source.branch.as_str(), spec.port, spec.replicas), ("main", 8080, 1));
        assert_eq!(spec.secrets().into_iter().collect::<Vec<_>>(), ["db"]);
        let mut built = spec.clone();
        let build =
            r#"{"image":"builder","env":{"MODE":"release","TOKEN":{"secret":"token"},"DB":{"secret":"db"}}}"#;
        built.build = Some(serde_json::from_str(build).unwrap());
        assert_eq!(built.secrets().into_iter().collect::<Vec<_>>(), ["db", "token"]);
        let mut private = built.clone();
        private.source = serde_json::from_str(r#"{"git":"https://h/p","token":{"secret":"read"}}"#).unwrap();
        assert_eq!(private.secrets().into_iter().collect::<Vec<_>>(), ["db", "read", "token"]);
        assert_eq!(private.secrets_on_machines(), built.secrets());
        let renamed = AppSource { token: None, ..private.source.clone() };
        assert!(private.source.is_same_place(&renamed) && !private.source.is_same_place(&built.source));
        let text = serde_json::to_string(&spec).unwrap();
        assert!(text.contains(r#""static":"dist""#) && text.contains(r#""strategy":"rolling""#), "{text}");
        assert_eq!(serde_json::from_str::<AppSpec>(&text).unwrap(), spec);
        for bad in [
            r#"{"source":{},"on":"web","env":{"A":{"secret":"db","more":1}}}"#,
            r#"{"source":{},"on":"web","env":{"A":7}}"#,
            r#"{"source":{},"on":"web","other":1}"#,
        ] {
            assert!(serde_json::from_str::<AppSpec>(bad).is_err(), "{bad}");
        }
    }
}
