//! Pure: what stands on a machine for one process: its unit, what starts it, its secrets.
//!
//! A process is a systemd unit in the tightest box that still runs ordinary web applications: a user of its own that exists
//! only while it runs, a system that it cannot write to, no capabilities, only its own release to be seen. Secrets are
//! systemd credentials, from memory only; the environment has them because a wrapper reads them there, so that they are in no
//! unit, no file on disk and no list of processes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hafen_base::{Error, Result};
use hafen_client::wire::{AppEnv, AppSpec};
use hafen_remote::quote;
use zeroize::Zeroizing;

/// Where a process finds what is its own, in its view of the machine.
const APP: &str = "/app";
const OWN: &str = "/run/app";
const ROOT: &str = "/var/lib/hafen/apps";
const SECRETS: &str = "/run/hafen-apps";

const STATIC: &str = include_str!("../../guest/static.pl");

/// The values of secrets, by the name of the variable.
pub type Secrets = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// Which process of what.
#[derive(Debug, Clone, Copy)]
pub struct Unit<'a> {
    pub app: &'a str,
    /// As `d7-0`; `migrate-3` for the migration of release 3.
    pub id: &'a str,
    pub release: i64,
    /// SHA-256 of what runs.
    pub artifact: &'a str,
    pub port: Option<u16>,
    pub spec: &'a AppSpec,
}

impl Unit<'_> {
    fn is_migration(&self) -> bool {
        self.id.starts_with("migrate-")
    }

    /// The unit file. No values in it: whoever may log in to a machine can read it.
    pub fn file(&self) -> String {
        let (app, id, release) = (self.app, self.id, self.release);
        let mut text = format!(
            "# Made by the platform for release {release} of the app {app}; changes are lost.\n[Unit]\n\
             Description=App {app}, release {release}, {id}\nAfter=network.target\nStartLimitIntervalSec=0\n\n[Service]\n"
        );
        text.push_str(if self.is_migration() {
            // What it did stays done: it is not started again.
            "Type=oneshot\nRemainAfterExit=yes\nTimeoutStartSec=3600\n"
        } else {
            "Type=exec\nRestart=always\nRestartSec=1\nTimeoutStopSec=15\n"
        });
        let lines = [
            format!("ExecStart=/bin/sh {OWN}/start"),
            format!("SyslogIdentifier={app}"),
            format!("WorkingDirectory={APP}"),
            // Of everything that the platform keeps on this machine it sees only its own.
            "TemporaryFileSystem=/var/lib/hafen:ro".into(),
            "InaccessiblePaths=-/run/hafen-apps".into(),
            format!("BindReadOnlyPaths={ROOT}/{app}/releases/{release}:{APP}"),
            format!("BindReadOnlyPaths={ROOT}/{app}/processes/{id}:{OWN}"),
        ];
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
        for name in self.secrets() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "LoadCredential={name}:{SECRETS}/{app}/{id}/{name}");
        }
        text.push_str(BOX);
        if !self.is_migration() {
            text.push_str("\n[Install]\nWantedBy=multi-user.target\n");
        }
        text
    }

    fn secrets(&self) -> impl Iterator<Item = &str> {
        self.spec
            .env
            .iter()
            .filter(|(_, value)| matches!(value, AppEnv::Secret(_)))
            .map(|(name, _)| name.as_str())
    }

    /// The command that it is for.
    fn command(&self) -> String {
        if self.is_migration() {
            return self.spec.migrate.clone().unwrap_or_default();
        }
        match (&self.spec.run, &self.spec.static_files) {
            (Some(run), _) => run.clone(),
            (None, folder) => {
                let folder = folder.as_deref().unwrap_or(".");
                let tag: String = self.artifact.chars().take(16).collect();
                format!("exec perl {OWN}/static.pl {} \"$PORT\" {tag}", quote(folder))
            }
        }
    }

    /// What starts it: the environment, and the command; another command when one is given as an argument.
    pub fn start(&self) -> String {
        let mut text = String::from("#!/bin/sh\nset -eu\nexport HOME=/tmp\n");
        if let Some(port) = self.port {
            let _ = writeln!(text, "export PORT={port}");
        }
        text.push_str(&exports(&self.spec.env));
        let _ = write!(
            text,
            "cd {APP}\ncommand={}\n[ \"$#\" -eq 0 ] || command=$1\nexec /bin/sh -c \"$command\"\n",
            quote(&self.command())
        );
        text
    }

    /// All of it as a tar archive, for the machine.
    ///
    /// # Errors
    /// Internal.
    pub fn archive(&self, secrets: &Secrets) -> Result<Zeroizing<Vec<u8>>> {
        let (file, start) = (self.file(), self.start());
        let mut files = vec![("unit", file.as_bytes()), ("start", start.as_bytes())];
        if self.spec.run.is_none() && !self.is_migration() {
            files.push(("static.pl", STATIC.as_bytes()));
        }
        archive(&files, secrets)
    }
}

/// Lines of a script that set variables; those of secrets by what lies in the folder of credentials.
pub(super) fn exports(env: &BTreeMap<String, AppEnv>) -> String {
    let mut text = String::new();
    for (name, value) in env {
        // Writing to a String cannot fail.
        let _ = match value {
            AppEnv::Text(value) => writeln!(text, "export {name}={}", quote(value)),
            // The letter keeps the line feeds at its end, which $(…) takes away.
            AppEnv::Secret(_) => writeln!(
                text,
                "{name}=$(cat \"$CREDENTIALS_DIRECTORY/{name}\" && echo x)\nexport {name}=\"${{{name}%x}}\""
            ),
        };
    }
    text
}

/// Files and credentials as a tar archive.
pub(super) fn archive(files: &[(&str, &[u8])], secrets: &Secrets) -> Result<Zeroizing<Vec<u8>>> {
    let length = |content: &[u8]| content.len() + 2048;
    let room = files.iter().map(|(_, content)| length(content)).sum::<usize>()
        + secrets.values().map(|value| length(value)).sum::<usize>();
    // Never grown, which would leave copies behind.
    let mut archive = Zeroizing::new(Vec::with_capacity(room + 4096));
    let mut builder = tar::Builder::new(&mut *archive);
    let mut add = |name: &str, content: &[u8]| -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(content.len()).map_err(Error::internal)?);
        header.set_mode(0o600);
        header.set_mtime(0);
        builder.append_data(&mut header, name, content).map_err(Error::internal)
    };
    for (name, content) in files {
        add(name, content)?;
    }
    for (name, value) in secrets {
        add(&format!("credentials/{name}"), value)?;
    }
    builder.finish().map_err(Error::internal)?;
    drop(builder);
    Ok(archive)
}

/// The walls. Not among them is what breaks ordinary runtimes: `MemoryDenyWriteExecute` (everything that compiles as it
/// runs), `ProcSubset=pid` (whoever reads `/proc/meminfo`).
const BOX: &str = "\
DynamicUser=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0077
";

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn spec(more: &str) -> AppSpec {
        serde_json::from_str(&format!(r#"{{"source":{{"repository":"shop"}},"on":"web",{more}}}"#)).unwrap()
    }

    fn unit(spec: &AppSpec) -> Unit<'_> {
        Unit { app: "shop", id: "d7-0", release: 3, artifact: "abc", port: Some(8080), spec }
    }

    #[test]
    fn no_value_of_a_secret_stands_anywhere_but_in_its_credential() {
        let spec = spec(r#""run":"./shop","env":{"LOG":"it's","DB":{"secret":"db"}}"#);
        let unit = unit(&spec);
        let secrets = Secrets::from([("DB".to_owned(), Zeroizing::new(b"canary".to_vec()))]);
        let (file, start) = (unit.file(), unit.start());
        assert!(!file.contains("canary") && !start.contains("canary"));
        assert!(file.contains("LoadCredential=DB:/run/hafen-apps/shop/d7-0/DB\n"), "{file}");
        // Values that are no secrets are not for the unit either.
        assert!(!file.contains("it's"));
        let archive = unit.archive(&secrets).unwrap();
        let mut names = Vec::new();
        for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut content = String::new();
            std::io::Read::read_to_string(&mut entry, &mut content).unwrap();
            assert_eq!(content == "canary", name == "credentials/DB", "{name}");
            names.push(name);
        }
        assert_eq!(names, ["unit", "start", "credentials/DB"]);
    }

    #[test]
    fn the_environment_arrives_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("DB"), "two\nlines'\n\n").unwrap();
        let spec = spec(
            r#""run":"printf '%s|%s|%s|%s' \"$PORT\" \"$LOG\" \"$DB\" \"$HOME\"","env":{"LOG":"a 'b' $HOME\nü","DB":{"secret":"db"}}"#,
        );
        let script = unit(&spec).start().replace("cd /app", "cd /");
        let run = |more: &[&str]| {
            let mut command = Command::new("sh");
            command.args(["-c", &script, "sh"]).args(more).env("CREDENTIALS_DIRECTORY", folder.path());
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(run(&[]), "8080|a 'b' $HOME\nü|two\nlines'\n\n|/tmp");
        assert_eq!(run(&["echo other $PORT"]), "other 8080\n");
    }

    #[test]
    fn static_files_and_migrations() {
        let files = spec(r#""static":"dist dir""#);
        let start = unit(&files).start();
        assert!(start.contains("static.pl") && start.contains("dist dir"), "{start}");
        let migrated = spec(r#""run":"./shop","migrate":"./shop migrate""#);
        let migration = Unit { id: "migrate-3", port: None, ..unit(&migrated) };
        assert!(migration.start().contains("./shop migrate"));
        let file = migration.file();
        assert!(
            file.contains("Type=oneshot") && !file.contains("Restart=") && !file.contains("[Install]"),
            "{file}"
        );
    }
}
