//! `[app.NAME]`: what is built, where it runs, and how a release takes the place of another.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use toml::de::{DeString, DeTable};

use crate::parse::{AppPlaces, label};
use crate::quantity::parse_duration;
use crate::reader::{Reader, Value};
use crate::{App, AppHealth, AppSource, Build, Env, Preview};

const APP_KEYS: &[&str] = &[
    "source", "build", "on", "run", "static", "port", "replicas", "health", "strategy", "migrate", "env",
    "preview",
];

/// As the API has them.
const MAX_COMMAND: usize = 4096;
const MAX_PATH: usize = 1024;
const MAX_ENV: usize = 256;
const MAX_TEXT: usize = 32 << 10;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What spans sections is left in `place`.
pub(crate) fn app<'t>(reader: &mut Reader<'t>, table: &DeTable<'t>, place: &mut AppPlaces) -> Option<App> {
    reader.keys(table, "an app", APP_KEYS);
    for (key, example) in [("source", "{ repository = \"shop\" }"), ("on", "\"web\"")] {
        if table.get(key).is_none() {
            let help = format!("write {key} = {example}");
            reader.error("missing_key", place.name.clone(), format!("the app needs `{key}`"), help);
        }
    }
    let source = table.get("source").and_then(|value| source(reader, value));
    let build = table.get("build").and_then(|value| build(reader, value, place));
    let on = reader.string(table, "on", "\"web\"").map(|(name, span)| (name.to_owned(), span));
    place.on.clone_from(&on);
    let run = command(reader, table, "run", "\"./shop --port $PORT\"");
    let static_files = folder(reader, table, "static", "\"dist\"");
    match (table.get("run"), table.get("static")) {
        (Some(_), Some(value)) => {
            let message = "an app has either `run` or `static`";
            reader.error("two_sources", value.span(), message, "remove one of them");
        }
        (None, None) => {
            let help = "write run = \"./shop --port $PORT\", or static = \"dist\" for files alone";
            reader.error("missing_key", place.name.clone(), "the app needs `run` or `static`", help);
        }
        _ => {}
    }
    let port = reader.integer(table, "port", 1..=65535).and_then(|port| u16::try_from(port).ok());
    let replicas = reader.integer(table, "replicas", 0..=1000).and_then(|count| u32::try_from(count).ok());
    let health = table.get("health").and_then(|value| health(reader, value));
    let strategy = reader.one_of(table, "strategy", &["rolling", "blue-green"]);
    let migrate = command(reader, table, "migrate", "\"./shop migrate\"");
    let env = env(reader, table, &[("PORT", "remove it, and set `port`")]);
    let preview = table.get("preview").and_then(|value| preview(reader, value));
    Some(App {
        source: source?,
        build,
        on: on?.0,
        run,
        static_files,
        port: port.unwrap_or(8080),
        replicas: replicas.unwrap_or(1),
        health,
        strategy: strategy.unwrap_or_else(|| "rolling".into()),
        migrate,
        env,
        preview,
    })
}

fn source<'t>(reader: &mut Reader<'t>, value: &Value<'t>) -> Option<AppSource> {
    let example = "{ repository = \"shop\" }";
    let table = reader.table(value, "source", example)?;
    reader.keys(table, "a source", &["repository", "git", "branch", "token", "username"]);
    let repository = reader.string(table, "repository", "\"shop\"").map(|(name, span)| {
        label(reader, "repository", name, span);
        name.to_owned()
    });
    let git = reader.string(table, "git", "\"https://…\"").map(|(url, span)| {
        let good = url.len() <= 1008
            && url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty())
            && url.bytes().all(|b| (0x21..0x7f).contains(&b));
        if !good {
            let message = format!("{url:?} is not an https:// URL");
            reader.error("bad_url", span, message, "write git = \"https://…\"");
        } else if url.trim_start_matches("https://").split('/').next().is_some_and(|host| host.contains('@'))
        {
            let help = "remove the part before '@'; a secret belongs into the vault: `hafen secret set NAME`, and \
                        token = { secret = \"NAME\" } names it";
            reader.error("secret_in_manifest", span, "a manifest holds no credentials", help);
        } else if hafen_base::https_origin(url).is_none() {
            let help = "write git = \"https://HOST/PATH\" or git = \"https://HOST:PORT/PATH\"";
            reader.error("bad_url", span, format!("{url:?} names no host that can be asked"), help);
        }
        url.to_owned()
    });
    match (table.get("repository"), table.get("git")) {
        (Some(_), Some(git)) => {
            let message = "a source is either a `repository` or a `git` URL";
            reader.error("two_sources", git.span(), message, "remove one of them");
        }
        (None, None) => {
            let help =
                "write source = { repository = \"shop\" }, or { git = \"https://…\" } for one elsewhere";
            reader.error("missing_key", value.span(), "neither `repository` nor `git` is given", help);
        }
        _ => {}
    }
    let branch = reader.string(table, "branch", "\"main\"").map(|(name, span)| {
        if !is_branch(name) {
            let help = "write branch = \"main\"";
            reader.error("bad_name", span, format!("{name:?} cannot be the name of a branch"), help);
        }
        name.to_owned()
    });
    let token = table.get("token").and_then(|value| token(reader, value));
    if let (Some(value), None) = (table.get("token"), table.get("git")) {
        let help = "remove it: a repository here needs none";
        reader.error("two_sources", value.span(), "a token goes with a `git` URL", help);
    }
    let username = reader.string(table, "username", "\"git\"").map(|(name, span)| {
        let good = (1..=128).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
        if !good {
            let help = "use 1 to 128 visible ASCII characters, without ':'";
            reader.error("bad_name", span.clone(), format!("{name:?} cannot be the name of a user"), help);
        }
        if table.get("token").is_none() {
            let help = "write token = { secret = \"NAME\" } beside it, or remove it";
            reader.error("missing_key", span, "a `username` goes with a `token`", help);
        }
        name.to_owned()
    });
    (repository.is_some() || git.is_some()).then(|| AppSource {
        repository,
        git,
        branch: branch.unwrap_or_else(|| "main".into()),
        token,
        username,
    })
}

fn token<'t>(reader: &mut Reader<'t>, value: &Value<'t>) -> Option<String> {
    if value.get_ref().as_str().is_some() {
        let help = "set it with `hafen secret set NAME`, and write token = { secret = \"NAME\" }";
        reader.error("secret_in_manifest", value.span(), "a manifest holds no credentials", help);
        return None;
    }
    let table = reader.table(value, "token", "{ secret = \"shop-source\" }")?;
    reader.keys(table, "a token", &["secret"]);
    if table.get("secret").is_none() {
        let help = "write token = { secret = \"shop-source\" }";
        reader.error("missing_key", value.span(), "the token lacks `secret`", help);
    }
    let (secret, span) = reader.string(table, "secret", "\"shop-source\"")?;
    label(reader, "secret", secret, span);
    Some(secret.to_owned())
}

/// What git takes for one, less what nobody calls theirs.
fn is_branch(name: &str) -> bool {
    (1..=200).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._/-".contains(&b))
        && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && !name.contains("..")
        && !name.contains("//")
        && !name.ends_with(['/', '.'])
        && !name.as_bytes().ends_with(b".lock")
}

fn build<'t>(reader: &mut Reader<'t>, value: &Value<'t>, place: &mut AppPlaces) -> Option<Build> {
    let table =
        reader.table(value, "build", "{ image = \"builder\", run = [\"make\"], output = \"dist\" }")?;
    reader.keys(table, "a build", &["image", "run", "output", "cache", "env", "timeout"]);
    if table.get("image").is_none() {
        let help = "write image = \"builder\": the image section that the builder boots from";
        reader.error("missing_key", value.span(), "the build needs `image`", help);
    }
    let image = reader.string(table, "image", "\"builder\"").map(|(name, span)| (name.to_owned(), span));
    place.image.clone_from(&image);
    let run = reader.strings(table, "run", "[\"make dist\"]");
    if run.len() > 64 {
        let message = format!("{} commands are given; at most 64 are taken", run.len());
        reader.error("too_many", value.span(), message, "put them into a script of the repository");
    }
    for (text, span) in &run {
        check_command(reader, text, span.clone());
    }
    let output = folder(reader, table, "output", "\"dist\"");
    let cache = reader.strings(table, "cache", "[\"target\"]");
    if cache.len() > 16 {
        let message = format!("{} folders are given; at most 16 are kept", cache.len());
        reader.error("too_many", value.span(), message, "name the folder above them");
    }
    for (path, span) in &cache {
        check_folder(reader, path, span.clone());
    }
    let env = env(
        reader,
        table,
        &[
            ("HAFEN_COMMIT", "remove it: it is the commit that is built"),
            ("SOURCE_DATE_EPOCH", "remove it: it is the time of the commit"),
            ("CREDENTIALS_DIRECTORY", "remove it: the build's secrets are files there"),
        ],
    );
    let bound = (Duration::from_secs(1), DAY, "between 1 s and 1 day");
    let timeout = reader.quantity(table, "timeout", "10 min", parse_duration, bound);
    Some(Build {
        image: image?.0,
        run: run.into_iter().map(|(text, _)| text).collect(),
        output: output.unwrap_or_else(|| ".".into()),
        cache: cache.into_iter().map(|(path, _)| path).collect(),
        env,
        timeout: timeout.unwrap_or(Duration::from_secs(600)),
    })
}

fn command<'t>(reader: &mut Reader<'t>, table: &DeTable<'t>, key: &str, example: &str) -> Option<String> {
    let (text, span) = reader.string(table, key, example)?;
    check_command(reader, text, span);
    Some(text.to_owned())
}

fn check_command(reader: &mut Reader<'_>, text: &str, span: Range<usize>) {
    if text.trim().is_empty() || text.len() > MAX_COMMAND || text.contains('\0') {
        let help = format!("write a command for `sh`, of at most {MAX_COMMAND} bytes");
        reader.error("bad_command", span, "this is no command", help);
    }
}

fn folder<'t>(reader: &mut Reader<'t>, table: &DeTable<'t>, key: &str, example: &str) -> Option<String> {
    let (path, span) = reader.string(table, key, example)?;
    check_folder(reader, path, span);
    Some(path.to_owned())
}

/// Within the source, whatever stands in it.
fn check_folder(reader: &mut Reader<'_>, path: &str, span: Range<usize>) {
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    let good = path.len() <= MAX_PATH
        && !path.chars().any(char::is_control)
        && (path == "." || path.split('/').all(plain));
    if !good {
        let help =
            "write a path within the source, without '.' and '..', as \"dist\"; \".\" alone is all of it";
        reader.error("bad_path", span, format!("{path:?} is no folder of the source"), help);
    }
}

fn health<'t>(reader: &mut Reader<'t>, value: &Value<'t>) -> Option<AppHealth> {
    let table = reader.table(value, "health", "{ path = \"/healthz\" }")?;
    reader.keys(table, "health", &["path", "healthy_after", "interval", "timeout"]);
    if table.get("path").is_none() {
        let help = "write health = { path = \"/healthz\" }";
        reader.error("missing_key", value.span(), "the health check needs `path`", help);
    }
    let path = reader.string(table, "path", "\"/healthz\"").map(|(path, span)| {
        if !path.starts_with('/') || path.len() > 1024 || !path.bytes().all(|b| (0x21..0x7f).contains(&b)) {
            let help = "write a path that starts with '/', without spaces";
            reader.error("bad_path", span, format!("{path:?} is not a path"), help);
        }
        path.to_owned()
    });
    let bound = (Duration::from_millis(100), Duration::from_secs(600), "between 100 ms and 10 min");
    let interval = reader.quantity(table, "interval", "2s", parse_duration, bound);
    let timeout = reader.quantity(table, "timeout", "1s", parse_duration, bound);
    let healthy_after = reader.integer(table, "healthy_after", 1..=100).and_then(|n| u32::try_from(n).ok());
    Some(AppHealth {
        path: path?,
        healthy_after: healthy_after.unwrap_or(1),
        interval: interval.unwrap_or(Duration::from_secs(2)),
        timeout: timeout.unwrap_or(Duration::from_secs(1)),
    })
}

/// `own`: variables that are the platform's, and what to do instead.
fn env<'t>(reader: &mut Reader<'t>, table: &DeTable<'t>, own: &[(&str, &str)]) -> BTreeMap<String, Env> {
    let mut all = BTreeMap::new();
    let example = "{ LOG = \"info\", DB_PASSWORD = { secret = \"db-password\" } }";
    let Some(value) = table.get("env") else { return all };
    let Some(inner) = reader.table(value, "env", example) else { return all };
    if inner.len() > MAX_ENV {
        let message = format!("{} variables are given; at most {MAX_ENV} are taken", inner.len());
        reader.error("too_many", value.span(), message, "keep what is needed");
    }
    for (key, value) in inner {
        let name: &DeString<'_> = key.get_ref();
        let good = (1..=128).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.as_bytes().first().is_some_and(u8::is_ascii_digit);
        if !good {
            let help = "use 1 to 128 characters of A-Z, a-z, 0-9 and '_', and do not start with a digit";
            reader.error("bad_name", key.span(), format!("{name:?} cannot be a variable"), help);
        } else if let Some((name, help)) = own.iter().find(|(own, _)| name == own) {
            let message = format!("the platform says itself what {name} is");
            reader.error("bad_name", key.span(), message, *help);
        }
        let name = name.to_string();
        match (value.get_ref().as_str(), value.get_ref().as_table()) {
            (Some(text), _) if text.len() <= MAX_TEXT && !text.contains('\0') => {
                all.insert(name, Env::Text(text.to_owned()));
            }
            (Some(_), _) => {
                let help = format!("at most {MAX_TEXT} bytes, without NUL");
                reader.error("bad_env", value.span(), "this cannot be the value of a variable", help);
            }
            (_, Some(table)) => {
                reader.keys(table, "a variable", &["secret"]);
                if table.get("secret").is_none() {
                    let help = format!("write {name} = {{ secret = \"db-password\" }}");
                    reader.error("missing_key", value.span(), "this variable lacks `secret`", help);
                }
                if let Some((secret, span)) = reader.string(table, "secret", "\"db-password\"") {
                    label(reader, "secret", secret, span);
                    all.insert(name, Env::Secret(secret.to_owned()));
                }
            }
            _ => reader.wrong_type(value, &name, "a string or { secret = \"NAME\" }", "\"info\""),
        }
    }
    all
}

fn preview<'t>(reader: &mut Reader<'t>, value: &Value<'t>) -> Option<Preview> {
    let table = reader.table(value, "preview", "{ branches = [\"feature/*\"], expires = \"7 days\" }")?;
    reader.keys(table, "a preview", &["branches", "expires", "domain"]);
    let branches = reader.strings(table, "branches", "[\"feature/*\"]");
    if !(1..=64).contains(&branches.len()) {
        let message = format!("{} patterns of branches are given; it must be 1 to 64", branches.len());
        reader.error("out_of_range", value.span(), message, "write branches = [\"feature/*\"]");
    }
    for (pattern, span) in &branches {
        if !is_branch(&pattern.replace('*', "x")) {
            let help = "write a branch, with * for anything, as \"feature/*\"";
            reader.error("bad_name", span.clone(), format!("{pattern:?} is no pattern of branches"), help);
        }
    }
    let bound = (Duration::from_secs(60), DAY * 365, "between 1 min and 365 days");
    let expires = reader.quantity(table, "expires", "7 days", parse_duration, bound);
    let domain = reader.string(table, "domain", "\"preview.example.org\"").map(|(name, span)| {
        if crate::route::host(name).is_err() || name.starts_with('*') || name.len() > 182 {
            let help = "write domain = \"preview.example.org\"";
            reader.error("bad_host", span, format!("{name:?} is no domain"), help);
        }
        name.to_owned()
    });
    Some(Preview {
        branches: branches.into_iter().map(|(pattern, _)| pattern).collect(),
        expires: expires.unwrap_or(DAY * 7),
        domain,
    })
}
