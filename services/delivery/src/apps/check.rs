//! What may be wanted of an app. Pure.

use std::collections::BTreeMap;

use hafen_base::{Error, Result, check_label, https_origin};
use hafen_client::wire::{AppBuild, AppEnv, AppSource, AppSpec};

/// A label that leaves room for what is made of it: names of units and of builders' machines.
const NAME_MOST: usize = 40;

/// Checks what is wanted of an app.
///
/// # Errors
/// Invalid, with the field.
pub fn check(name: &str, spec: &AppSpec) -> Result<()> {
    check_label("app", name).map_err(Error::invalid)?;
    if name.len() > NAME_MOST {
        return Err(Error::invalid(format!("an app's name has at most {NAME_MOST} characters")));
    }
    let field = |pointer: &str, why: String| Error::invalid_field(pointer, why);
    match (&spec.source.repository, &spec.source.git) {
        (Some(repository), None) => {
            check_label("repository", repository).map_err(|why| field("/source/repository", why))?;
        }
        (None, Some(url)) => check_url(url)?,
        _ => return Err(field("/source", "give exactly one of `repository` and `git`".into())),
    }
    check_branch(&spec.source.branch).map_err(|why| field("/source/branch", why))?;
    check_token(&spec.source)?;
    check_label("cluster", &spec.on).map_err(|why| field("/on", why))?;
    match (&spec.run, &spec.static_files) {
        (Some(run), None) => check_command(run).map_err(|why| field("/run", why))?,
        (None, Some(folder)) => check_folder(folder).map_err(|why| field("/static", why))?,
        _ => return Err(field("/run", "give exactly one of `run` and `static`".into())),
    }
    if let Some(migrate) = &spec.migrate {
        check_command(migrate).map_err(|why| field("/migrate", why))?;
    }
    if spec.port == 0 {
        return Err(field("/port", "a port is between 1 and 65535".into()));
    }
    if !(0..=1000).contains(&spec.replicas) {
        return Err(field("/replicas", "0 to 1000 processes".into()));
    }
    if let Some(health) = &spec.health {
        if !health.path.starts_with('/')
            || health.path.len() > 1024
            || !health.path.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(field(
                "/health/path",
                "a path begins with `/` and has at most 1024 visible ASCII characters".into(),
            ));
        }
        let bounds = [
            ("/health/healthy_after", health.healthy_after, 1..=100),
            ("/health/interval_ms", health.interval_ms, 100..=3_600_000),
            ("/health/timeout_ms", health.timeout_ms, 100..=600_000),
        ];
        for (pointer, value, range) in bounds {
            if !range.contains(&value) {
                return Err(field(pointer, format!("between {} and {}", range.start(), range.end())));
            }
        }
    }
    if let Some(build) = &spec.build {
        check_build(build)?;
    }
    check_env("/env", &spec.env, &["PORT", "HOME", "CREDENTIALS_DIRECTORY"])?;
    if let Some(preview) = &spec.preview {
        if preview.branches.is_empty() || preview.branches.len() > 64 {
            return Err(field("/preview/branches", "1 to 64 patterns of branches".into()));
        }
        for pattern in &preview.branches {
            check_branch(&pattern.replace('*', "x")).map_err(|why| field("/preview/branches", why))?;
        }
        if !(60_000..=31_536_000_000).contains(&preview.expires_ms) {
            return Err(field("/preview/expires_ms", "a minute to a year, in milliseconds".into()));
        }
    }
    Ok(())
}

fn check_build(build: &AppBuild) -> Result<()> {
    let field = |pointer: &str, why: String| Error::invalid_field(pointer, why);
    check_label("image", &build.image).map_err(|why| field("/build/image", why))?;
    if build.run.len() > 64 {
        return Err(field("/build/run", "at most 64 commands".into()));
    }
    for (at, command) in build.run.iter().enumerate() {
        check_command(command).map_err(|why| field(&format!("/build/run/{at}"), why))?;
    }
    check_folder(&build.output).map_err(|why| field("/build/output", why))?;
    if build.cache.len() > 16 {
        return Err(field("/build/cache", "at most 16 folders".into()));
    }
    for (at, folder) in build.cache.iter().enumerate() {
        check_folder(folder).map_err(|why| field(&format!("/build/cache/{at}"), why))?;
    }
    check_env("/build/env", &build.env, &["HAFEN_COMMIT", "SOURCE_DATE_EPOCH", "CREDENTIALS_DIRECTORY"])?;
    if !(1000..=86_400_000).contains(&build.timeout_ms) {
        return Err(field("/build/timeout_ms", "a second to a day, in milliseconds".into()));
    }
    Ok(())
}

/// `own`: variables that the platform sets itself.
fn check_env(pointer: &str, env: &BTreeMap<String, AppEnv>, own: &[&str]) -> Result<()> {
    let field = |why: String| Err(Error::invalid_field(pointer, why));
    if env.len() > 256 {
        return field("at most 256 variables".into());
    }
    for (name, value) in env {
        let first = name.bytes().next().unwrap_or(b'0');
        let good = (1..=128).contains(&name.len())
            && !first.is_ascii_digit()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !good {
            return field(format!(
                "{name:?}: a variable's name has 1 to 128 of A-Z, a-z, 0-9 and `_`, and begins with no digit"
            ));
        }
        if own.contains(&name.as_str()) {
            return field(format!("{name} is set by the platform"));
        }
        match value {
            AppEnv::Text(text) if text.len() > 32 << 10 || text.contains('\0') => {
                return field(format!("{name}: at most 32 KiB, without NUL"));
            }
            AppEnv::Text(_) => {}
            AppEnv::Secret(reference) => {
                if let Err(why) = check_label("secret", &reference.secret) {
                    return field(format!("{name}: {why}"));
                }
            }
        }
    }
    Ok(())
}

/// A branch or tag as it may be given to git: never an option, a range or a path of another kind.
///
/// # Errors
/// Says what it must look like.
pub fn check_branch(name: &str) -> Result<(), String> {
    let good = (1..=200).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'-'))
        && !name.contains("..")
        && !name.contains("//")
        && !name.ends_with(['/', '.'])
        && name.split('/').all(|part| {
            let lock = part.len() >= 5 && part.get(part.len() - 5..).is_some_and(|end| end == ".lock");
            !lock && !part.starts_with('.')
        });
    if good { Ok(()) } else { Err("no name of a branch or tag that git takes".into()) }
}

fn check_url(url: &str) -> Result<()> {
    let good =
        https_origin(url).is_some() && url.len() <= 1000 && url.bytes().all(|byte| byte.is_ascii_graphic());
    if good {
        Ok(())
    } else {
        Err(Error::invalid_field(
            "/source/git",
            "a URL as https://host/path or https://host:port/path, without a password in it",
        ))
    }
}

/// What opens a private source elsewhere.
fn check_token(source: &AppSource) -> Result<()> {
    let field = |pointer: &str, why: &str| Err(Error::invalid_field(pointer, why));
    match (&source.token, &source.username) {
        (Some(_), _) if source.git.is_none() => {
            return field("/source/token", "a token goes with `git`: a repository here needs none");
        }
        (None, Some(_)) => return field("/source/username", "a username goes with a `token`"),
        (Some(token), _) => {
            check_label("secret", &token.secret)
                .map_err(|why| Error::invalid_field("/source/token/secret", why))?;
        }
        (None, None) => {}
    }
    match &source.username {
        Some(name)
            if !(1..=128).contains(&name.len())
                || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') =>
        {
            field("/source/username", "1 to 128 visible ASCII characters, without `:`")
        }
        _ => Ok(()),
    }
}

fn check_command(command: &str) -> Result<(), String> {
    if (1..=4096).contains(&command.len()) && !command.contains('\0') && !command.trim().is_empty() {
        Ok(())
    } else {
        Err("a command has 1 to 4096 bytes and no NUL".into())
    }
}

/// A folder of the source or of a release: relative, and within.
fn check_folder(folder: &str) -> Result<(), String> {
    let good = (1..=1024).contains(&folder.len())
        && !folder.starts_with(['/', '-'])
        && !folder.chars().any(char::is_control)
        && folder.split('/').all(|part| part != "..");
    if good {
        Ok(())
    } else {
        Err("a folder within the source, as `dist` or `web/dist`; `.` for all of it".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_and_folders() {
        for good in ["main", "feature/a-b", "v1.2.3", "0x"] {
            assert!(check_branch(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-x",
            "--upload-pack=x",
            "a..b",
            "a//b",
            "a/",
            "/a",
            "a b",
            "a:b",
            "a.lock",
            "a/.b",
            "a~1",
            "ü",
            "x.",
        ] {
            assert!(check_branch(bad).is_err(), "{bad}");
        }
        for good in [".", "dist", "a/b", "./dist"] {
            assert!(check_folder(good).is_ok(), "{good}");
        }
        for bad in ["", "/etc", "..", "a/../b", "-x", "a\nb"] {
            assert!(check_folder(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn specs() {
        let with = |change: &str| -> AppSpec {
            let mut spec: serde_json::Value =
                serde_json::json!({ "source": { "repository": "shop" }, "on": "web", "run": "./shop" });
            let change: serde_json::Value = serde_json::from_str(change).unwrap();
            for (name, value) in change.as_object().unwrap() {
                spec[name] = value.clone();
            }
            serde_json::from_value(spec).unwrap()
        };
        assert!(check("shop", &with("{}")).is_ok());
        for source in [
            r#"{"git":"https://h/p","token":{"secret":"read-shop"}}"#,
            r#"{"git":"https://[::1]:8443/p","token":{"secret":"read-shop"},"username":"gitlab+deploy-token-1"}"#,
        ] {
            assert!(check("shop", &with(&format!("{{\"source\":{source}}}"))).is_ok(), "{source}");
        }
        for (change, told) in [
            (r#"{"source":{}}"#, "exactly one"),
            (r#"{"source":{"git":"https://user:x@h/p"}}"#, "without a password"),
            (r#"{"source":{"git":"file:///etc"}}"#, "https://"),
            (r#"{"source":{"git":"https://*.example.org/p","token":{"secret":"a"}}}"#, "https://"),
            (r#"{"source":{"repository":"shop","token":{"secret":"a"}}}"#, "needs none"),
            (r#"{"source":{"repository":"shop","username":"a"}}"#, "goes with a `token`"),
            (r#"{"source":{"git":"https://h/p","username":"a"}}"#, "goes with a `token`"),
            (r#"{"source":{"git":"https://h/p","token":{"secret":"Not"}}}"#, "secret"),
            (r#"{"source":{"git":"https://h/p","token":{"secret":"a"},"username":"a:b"}}"#, "without `:`"),
            (r#"{"source":{"git":"https://h/p","token":{"secret":"a"},"username":"a\nb"}}"#, "visible"),
            (r#"{"source":{"git":"https://h/p","token":{"secret":"a"},"username":""}}"#, "1 to 128"),
            (r#"{"source":{"repository":"shop","branch":"--x"}}"#, "branch"),
            (r#"{"static":"dist"}"#, "exactly one"),
            (r#"{"run":null,"static":"../x"}"#, "folder"),
            (r#"{"run":" "}"#, "command"),
            (r#"{"port":0}"#, "port"),
            (r#"{"replicas":1001}"#, "1000"),
            (r#"{"health":{"path":"x"}}"#, "path"),
            (r#"{"health":{"path":"/","interval_ms":1}}"#, "between"),
            (r#"{"env":{"PORT":"1"}}"#, "platform"),
            (r#"{"env":{"1A":"1"}}"#, "digit"),
            (r#"{"env":{"A":{"secret":"Not"}}}"#, "secret"),
            (r#"{"build":{"image":"b","output":"/"}}"#, "folder"),
            (r#"{"build":{"image":"b","cache":["-x"]}}"#, "folder"),
            (r#"{"build":{"image":"b","env":{"A-B":"1"}}}"#, "digit"),
            (r#"{"build":{"image":"b","env":{"HAFEN_COMMIT":"1"}}}"#, "platform"),
            (r#"{"build":{"image":"b","env":{"A":{"secret":"Not"}}}}"#, "secret"),
            (r#"{"preview":{"branches":[]}}"#, "patterns"),
            (r#"{"preview":{"branches":["a b*"]}}"#, "branch"),
        ] {
            let error = check("shop", &with(change)).expect_err(change);
            assert!(error.to_string().contains(told), "{change}: {error}");
        }
        for bad in ["", "Shop", "a.b", &"x".repeat(41)] {
            assert!(check(bad, &with("{}")).is_err(), "{bad}");
        }
    }
}
