//! What every image of this platform must contain so that its machines can be driven: the
//! agent, the state a template is captured in, and the rules of sshd. The sources are in
//! `guest/`.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// A file to be put into an image, owned by root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFile {
    /// Absolute path in the guest.
    pub path: &'static str,
    /// Permission bits; of no meaning for a link.
    pub mode: u32,
    pub contents: Contents,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    Text(&'static str),
    /// A symbolic link to this target.
    Link(&'static str),
}

/// The script that tells what changed in a machine's ways in; run as root for [`CHECK`].
pub const REPORT: &str = "/usr/lib/hafen/report";

/// The user that may run [`REPORT`] and nothing else; made by [`commands`].
pub const CHECK: &str = "hafen-check";

/// The login user that certificates let in; made by [`commands`].
pub const LOGIN: &str = "hafen";

/// All files and links. Put them in after the packages were installed, then run [`commands`].
#[must_use]
pub fn files() -> Vec<GuestFile> {
    let text = |path, mode, contents| GuestFile { path, mode, contents: Contents::Text(contents) };
    let link = |path, target| GuestFile { path, mode: 0o777, contents: Contents::Link(target) };
    let masked = |path| link(path, "/dev/null");
    vec![
        text("/usr/lib/hafen/agent", 0o755, include_str!("../guest/agent.pl")),
        text(
            "/usr/lib/systemd/system/hafen-agent.service",
            0o644,
            include_str!("../guest/hafen-agent.service"),
        ),
        text(
            "/usr/lib/systemd/system/hafen-template.target",
            0o644,
            include_str!("../guest/hafen-template.target"),
        ),
        link(
            "/etc/systemd/system/multi-user.target.wants/hafen-agent.service",
            "/usr/lib/systemd/system/hafen-agent.service",
        ),
        text("/etc/ssh/sshd_config.d/10-hafen.conf", 0o644, include_str!("../guest/sshd.conf")),
        text(
            "/etc/systemd/system/ssh.service.d/10-hafen.conf",
            0o644,
            include_str!("../guest/ssh-after-agent.conf"),
        ),
        text(
            "/etc/systemd/system/serial-getty@ttyS0.service.d/10-hafen.conf",
            0o644,
            include_str!("../guest/autologin.conf"),
        ),
        text("/usr/lib/sysusers.d/hafen.conf", 0o644, include_str!("../guest/sysusers.conf")),
        text("/usr/lib/tmpfiles.d/hafen.conf", 0o644, include_str!("../guest/tmpfiles.conf")),
        text("/etc/sudoers.d/hafen", 0o440, include_str!("../guest/sudoers")),
        text(REPORT, 0o755, include_str!("../guest/report.sh")),
        text("/etc/sudoers.d/hafen-check", 0o440, include_str!("../guest/sudoers-check")),
        text("/etc/ssh/hafen_principals/hafen-check", 0o644, include_str!("../guest/principals-check")),
        text("/etc/fstab", 0o644, "/dev/vda / ext4 defaults,discard 0 1\n"),
        // Host keys come from the platform.
        masked("/etc/systemd/system/sshd-keygen.service"),
        // Work at fixed times would start in every clone the moment its clock is set.
        masked("/etc/systemd/system/apt-daily.timer"),
        masked("/etc/systemd/system/apt-daily-upgrade.timer"),
        masked("/etc/systemd/system/dpkg-db-backup.timer"),
        masked("/etc/systemd/system/e2scrub_all.timer"),
        masked("/etc/systemd/system/fstrim.timer"),
        // sshd listens once the machine is itself; who connects then is not to be turned away
        // because other services are still starting.
        masked("/etc/tmpfiles.d/systemd-nologin.conf"),
        // There is no screen.
        masked("/etc/systemd/system/getty@tty1.service"),
    ]
}

/// Debian packages that [`files`] need, beside what every Debian has.
#[must_use]
pub fn packages() -> &'static [&'static str] {
    &[
        "linux-image-cloud-amd64",
        "systemd",
        "systemd-sysv",
        "udev",
        "openssh-server",
        "iproute2",
        "sudo",
        "dbus",
        // The serial console's shell.
        "login",
    ]
}

/// Commands to run in the image's root after [`files`] were put there.
#[must_use]
pub fn commands() -> &'static [&'static [&'static str]] {
    &[&["systemd-sysusers"], &["sh", "-c", NO_PENALTIES]]
}

/// A shell command that makes sshd hold no past of an address against it. All of the platform's connections come from one,
/// its network's gateway: health checks, which leave without logging in, and users, of whom one may have come with a
/// certificate that is over; soon nobody would be let in. OpenSSH has such penalties since 9.8, and takes no word for them
/// before.
pub const NO_PENALTIES: &str = "if /usr/sbin/sshd -G -o PerSourcePenalties=no >/dev/null 2>&1; then \
    echo 'PerSourcePenalties no' >/etc/ssh/sshd_config.d/11-hafen.conf; fi";

/// Files an image must not contain: they would be the same in every machine. A path that ends
/// with `*` means all files that begin so.
#[must_use]
pub fn forbidden() -> &'static [&'static str] {
    &["/etc/ssh/ssh_host_*", "/var/lib/systemd/random-seed", "/var/lib/hafen/identity"]
}

/// Changes with every change of the guest's files: part of what a template depends on.
#[must_use]
pub fn version() -> String {
    let mut hash = Sha256::new();
    for file in files() {
        let contents = match file.contents {
            Contents::Text(text) => text,
            Contents::Link(target) => target,
        };
        hash.update(format!("{}\0{:o}\0{contents}\0", file.path, file.mode));
    }
    hash.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_and_unique() {
        let mut paths: Vec<_> = files().iter().map(|file| file.path).collect();
        assert!(paths.iter().all(|path| path.starts_with('/')));
        paths.sort_unstable();
        let count = paths.len();
        paths.dedup();
        assert_eq!(paths.len(), count);
    }

    #[test]
    fn the_agent_compiles() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/guest/agent.pl");
        let out = std::process::Command::new("perl").args(["-wc", script]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}
