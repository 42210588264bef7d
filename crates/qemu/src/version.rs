//! Finds QEMU and learns its version. A snapshot is only ever loaded by the build that made it,
//! so the whole first line of `--version` (with the distribution's package version) is kept.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, disk};

/// A QEMU version, such as 7.2.22.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub micro: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// The QEMU of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    pub program: PathBuf,
    pub img: PathBuf,
    pub version: Version,
    /// The first line of `--version`: tells one build from another.
    pub build: String,
}

/// The oldest version this crate is tested with (Debian 12).
const OLDEST: Version = Version { major: 7, minor: 2, micro: 0 };

impl Qemu {
    /// Looks for `qemu-system-x86_64` and `qemu-img` on the path.
    pub async fn detect() -> Result<Self> {
        let program = find("qemu-system-x86_64", "install it with: apt-get install qemu-system-x86")?;
        let img = find("qemu-img", "install it with: apt-get install qemu-utils")?;
        Self::at(program, img).await
    }

    /// Takes these programs instead of those on the path.
    pub async fn at(program: PathBuf, img: PathBuf) -> Result<Self> {
        let mut command = tokio::process::Command::new(&program);
        command.arg("--version");
        let text = disk::tool_output(command, Duration::from_secs(20), &program).await?;
        let build = text.lines().next().unwrap_or_default().to_owned();
        let version = parse(&build)
            .ok_or_else(|| Error::Invalid(format!("{} says no version: {build:?}", program.display())))?;
        if version < OLDEST {
            return Err(Error::Invalid(format!("QEMU {version} is too old; {OLDEST} or newer is needed")));
        }
        Ok(Self { program, img, version, build })
    }

    /// `file:` as a migration target came with 8.2.
    pub(crate) fn has_file_migration(&self) -> bool {
        (self.version.major, self.version.minor) >= (8, 2)
    }

    /// Memory files that QEMU opens read-only and still maps privately writable (`rom=off`)
    /// came with 8.2.
    pub(crate) fn has_private_readonly_memory(&self) -> bool {
        (self.version.major, self.version.minor) >= (8, 2)
    }
}

/// Looks for a program on the path, and in the system directories that a user's path may lack.
pub(crate) fn find(name: &str, mend: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|candidate| is_program(candidate))
        .ok_or_else(|| Error::Missing { what: name.to_owned(), mend: mend.to_owned() })
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

fn parse(line: &str) -> Option<Version> {
    let text = line.strip_prefix("QEMU emulator version ")?.split_whitespace().next()?;
    let mut parts = text.split('.').map(|part| part.parse().ok());
    Some(Version { major: parts.next()??, minor: parts.next()??, micro: parts.next().flatten().unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let v = |major, minor, micro| Some(Version { major, minor, micro });
        assert_eq!(parse("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)"), v(7, 2, 22));
        assert_eq!(parse("QEMU emulator version 10.0.2"), v(10, 0, 2));
        assert_eq!(parse("QEMU emulator version 9.1"), v(9, 1, 0));
        assert_eq!(parse("something else"), None);
    }
}
