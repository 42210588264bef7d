//! What this host offers: its architecture, its Debian mirror, and the right to build a root file system.

use std::path::Path;
use std::time::Duration;

use crate::{Error, Result, durable, run};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const SECOND: Duration = Duration::from_secs(1);

/// Where Debian's archives are to be had, without a `/` at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirror {
    pub main: String,
    pub security: Option<String>,
}

impl Mirror {
    /// `HAFEN_MIRROR` (the URL of the main archive and, after a space, that of the security archive), else what the
    /// host's own apt uses for Debian.
    pub(crate) fn detect(setting: Option<&str>, etc_apt: &Path) -> Result<Self> {
        if let Some(setting) = setting.filter(|text| !text.trim().is_empty()) {
            let urls: Vec<_> = setting.split_whitespace().map(|url| url.trim_end_matches('/')).collect();
            let mirror = match urls.as_slice() {
                [main] => Self { main: (*main).to_owned(), security: None },
                [main, security] => Self { main: (*main).to_owned(), security: Some((*security).to_owned()) },
                _ => return Err(Error::Invalid("HAFEN_MIRROR is one URL, or two: main and security".into())),
            };
            if let Some(bad) = urls.iter().find(|url| !is_url(url)) {
                return Err(Error::Invalid(format!("HAFEN_MIRROR: {bad:?} is no http, https or file URL")));
            }
            return Ok(mirror);
        }
        let sources = sources(etc_apt);
        let of = |security| {
            sources.iter().find(|source| source.security == security).map(|source| source.url.clone())
        };
        let main = of(false).ok_or_else(|| Error::Missing {
            what: "a Debian mirror".into(),
            mend: "name one in /etc/apt/sources.list, or set HAFEN_MIRROR to its URL".into(),
        })?;
        Ok(Self { main, security: of(true) })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Source {
    url: String,
    security: bool,
}

/// The Debian archives of the host's apt; what cannot be read or is not Debian's is passed over.
fn sources(etc_apt: &Path) -> Vec<Source> {
    let mut paths = vec![etc_apt.join("sources.list")];
    let folder = std::fs::read_dir(etc_apt.join("sources.list.d"));
    let mut more: Vec<_> = folder.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    more.sort();
    paths.extend(more);
    let mut found = Vec::new();
    for path in paths {
        let Ok(Some(text)) = durable::read(&path, 1 << 20) else { continue };
        let text = String::from_utf8_lossy(&text);
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("list") => found.extend(text.lines().filter_map(one_line)),
            Some("sources") => found.extend(text.split("\n\n").filter_map(stanza)),
            _ => {}
        }
    }
    found
}

/// `deb [options] URL SUITE COMPONENT…`
fn one_line(line: &str) -> Option<Source> {
    let rest = line.trim().strip_prefix("deb")?.strip_prefix(char::is_whitespace)?.trim_start();
    let rest = if rest.starts_with('[') { rest.split_once(']')?.1 } else { rest };
    let mut words = rest.split_whitespace();
    let (url, suite) = (words.next()?, words.next()?);
    words.any(|component| component == "main").then_some(())?;
    source(url, suite)
}

fn stanza(text: &str) -> Option<Source> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let field = |name: &str| {
        let mut lines = lines.iter();
        let first = lines.by_ref().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })?;
        let more = lines.take_while(|line| line.starts_with([' ', '\t']));
        Some(more.fold(first.to_owned(), |text, line| text + line))
    };
    let has = |name: &str, word: &str| {
        field(name).is_some_and(|text| text.split_whitespace().any(|one| one == word))
    };
    if !has("Types", "deb") || !has("Components", "main") || has("Enabled", "no") {
        return None;
    }
    let suites = field("Suites")?;
    let urls = field("URIs")?;
    suites.split_whitespace().find_map(|suite| urls.split_whitespace().find_map(|url| source(url, suite)))
}

fn source(url: &str, suite: &str) -> Option<Source> {
    let url = url.trim_end_matches('/');
    let (name, rest) = suite.split_once(['-', '/']).unwrap_or((suite, ""));
    let known = [
        "bullseye",
        "bookworm",
        "trixie",
        "forky",
        "duke",
        "sid",
        "oldoldstable",
        "oldstable",
        "stable",
        "testing",
        "unstable",
    ];
    if !known.contains(&name) || !is_url(url) {
        return None;
    }
    match rest {
        "" => Some(Source { url: url.to_owned(), security: false }),
        "security" => Some(Source { url: url.to_owned(), security: true }),
        // Updates and backports are in the main archive, which another suite names too.
        _ => None,
    }
}

fn is_url(url: &str) -> bool {
    let rest = ["http://", "https://", "file:///"].iter().find_map(|scheme| url.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty())
        && url.len() < 500
        && url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'\\[]#".contains(&byte))
}

/// Debian's name of this host's architecture.
pub(crate) async fn architecture() -> Result<String> {
    let mut command = run::command("dpkg");
    let text = run::output(command.arg("--print-architecture"), Path::new("/"), 30 * SECOND).await?;
    let name = text.trim();
    if crate::recipe::is_package(name) {
        return Ok(name.to_owned());
    }
    Err(Error::Tool { program: "dpkg".into(), message: format!("{name:?} is no architecture") })
}

/// Settings of the host's apt that are about reaching mirrors: proxies above all.
pub(crate) async fn transport() -> Result<String> {
    let mut command = run::command("apt-config");
    let text = run::output(command.arg("dump"), Path::new("/"), 30 * SECOND).await?;
    let about = ["Acquire::http::", "Acquire::https::", "Acquire::ForceIPv4", "Acquire::ForceIPv6"];
    let lines = text.lines().filter(|line| about.iter().any(|start| line.starts_with(start)));
    Ok(lines.fold(String::new(), |text, line| text + line + "\n"))
}

pub(crate) fn keyring() -> Result<&'static str> {
    if Path::new(KEYRING).exists() {
        return Ok(KEYRING);
    }
    Err(Error::Missing {
        what: "the keyring of Debian's archive".into(),
        mend: "apt-get install debian-archive-keyring".into(),
    })
}

/// The command that makes a program root of namespaces of its own, where it may mount and chroot, reaches no network,
/// and dies with its first process. An ordinary user needs subordinate users for it.
pub(crate) async fn namespaces() -> Result<Vec<&'static str>> {
    let mut words = vec!["unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--uts"];
    let root = rustix::process::geteuid().is_root();
    if !root {
        words.extend(["--user", "--map-root-user", "--map-auto"]);
    }
    let mut probe = run::command("unshare");
    probe.args(words.iter().skip(1)).arg("true");
    match run::output(&mut probe, Path::new("/"), 30 * SECOND).await {
        Ok(_) => Ok(words),
        Err(error @ Error::Missing { .. }) => Err(error),
        Err(error) if root => Err(Error::Missing {
            what: format!("the right to make namespaces ({error})"),
            mend: "run where root has CAP_SYS_ADMIN: not in a container without it".into(),
        }),
        Err(error) => Err(missing_user(&error)),
    }
}

fn missing_user(error: &Error) -> Error {
    let program = ["/usr/bin/newuidmap", "/bin/newuidmap"].iter().any(|path| Path::new(path).exists());
    if !program {
        return Error::Missing {
            what: "newuidmap, by which an ordinary user builds images,".into(),
            mend: "apt-get install uidmap".into(),
        };
    }
    let id = rustix::process::geteuid().as_raw();
    Error::Missing {
        what: format!("the right of user {id} to use subordinate users in namespaces ({error})"),
        mend: format!(
            "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un {id}) (another range \
             if it is taken in /etc/subuid), and sysctl kernel.unprivileged_userns_clone=1 where it is 0"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(files: &[(&str, &str)]) -> Result<Mirror> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sources.list.d")).unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        Mirror::detect(None, dir.path())
    }

    #[test]
    fn the_mirror_is_the_hosts() {
        assert!(matches!(detect(&[]), Err(Error::Missing { .. })));
        let list = "# deb http://no.example/debian trixie main\n\
            deb-src http://no.example/debian trixie main\n\
            deb https://tools.example/apt tools-bookworm main\n\
            deb [arch=amd64 signed-by=/x] http://a.example/debian/ bookworm main contrib\n\
            deb http://a.example/security bookworm-security main\n";
        let mirror = detect(&[("sources.list", list)]).unwrap();
        assert_eq!(mirror.main, "http://a.example/debian");
        assert_eq!(mirror.security.unwrap(), "http://a.example/security");
        let other = "Types: deb\nURIs: https://node.example/x\nSuites: nodistro\nComponents: main\n";
        let debian = "Types: deb deb-src\n# URIs: http://no.example\nURIs:\n https://b.example/debian\n\
            Suites: trixie trixie-updates\nComponents: main\n\n\
            Types: deb\nURIs: https://b.example/sec\nSuites: trixie-security\nComponents: main\n\n\
            Enabled: no\nTypes: deb\nURIs: https://no.example/sec\nSuites: trixie\nComponents: main\n";
        let mirror =
            detect(&[("sources.list.d/a.sources", other), ("sources.list.d/b.sources", debian)]).unwrap();
        assert_eq!(mirror.main, "https://b.example/debian");
        assert_eq!(mirror.security.unwrap(), "https://b.example/sec");
    }

    #[test]
    fn the_setting_wins_and_is_checked() {
        let detect = |text| Mirror::detect(Some(text), Path::new("/nowhere"));
        assert_eq!(
            detect("http://m.example/d/").unwrap(),
            Mirror { main: "http://m.example/d".into(), security: None }
        );
        assert_eq!(
            detect("http://m.example/d https://s.example").unwrap().security.unwrap(),
            "https://s.example"
        );
        assert!(matches!(detect(" "), Err(Error::Missing { .. })));
        for bad in ["m.example", "ftp://m.example/d", "http://", "http://a b c", "http://x\"y"] {
            assert!(detect(bad).is_err(), "{bad}");
        }
    }
}
