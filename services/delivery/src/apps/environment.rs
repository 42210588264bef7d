//! Pure: what the commands of a build are started with: variables, and the secrets among them.
//!
//! As for processes (`unit`): the values of secrets come to the machine apart, into memory, for the user alone as whom the build
//! runs, and the script that starts a command reads them there. So they are in no command line, and no process has them but the
//! commands and what they start. The platform takes them away before it packs what the build leaves.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hafen_base::Result;
use hafen_client::wire::AppEnv;
use hafen_remote::quote;
use zeroize::Zeroizing;

use super::unit::{Secrets, archive, exports};

/// Where it lies on a builder; `guest/app.sh` puts it there.
pub const FOLDER: &str = "/run/hafen-build";

/// What a build finds in its environment.
#[derive(Debug, Clone, Copy)]
pub struct Environment<'a> {
    /// What the platform says itself.
    pub own: &'a [(&'a str, String)],
    pub env: &'a BTreeMap<String, AppEnv>,
}

impl Environment<'_> {
    /// What starts a command, its argument. No values of secrets in it.
    pub fn start(&self) -> String {
        let mut text = String::from("#!/bin/sh\nset -eu\n");
        for (name, value) in self.own {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "export {name}={}", quote(value));
        }
        if self.env.values().any(|value| value.secret().is_some()) {
            let _ = writeln!(text, "export CREDENTIALS_DIRECTORY={FOLDER}/credentials");
        }
        text.push_str(&exports(self.env));
        text.push_str("exec sh -ec \"$1\"\n");
        text
    }

    /// All of it as a tar archive, for the builder.
    ///
    /// # Errors
    /// Internal.
    pub fn archive(&self, secrets: &Secrets) -> Result<Zeroizing<Vec<u8>>> {
        archive(&[("start", self.start().as_bytes())], secrets)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;

    fn env() -> BTreeMap<String, AppEnv> {
        serde_json::from_str(r#"{"MODE":"it's $HOME\nü","TOKEN":{"secret":"npm-token"}}"#).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn without_secrets_there_are_no_credentials() {
        let env = serde_json::from_str(r#"{"MODE":"release"}"#).unwrap();
        let start = Environment { own: &[("CI", "true".into())], env: &env }.start();
        assert!(!start.contains("CREDENTIALS_DIRECTORY") && start.contains("export CI=true\n"), "{start}");
    }

    /// As a builder does it, with the script that it is sent: what is not this user's is not to be seen, and it goes.
    #[test]
    fn a_secret_arrives_at_the_commands_alone_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("build");
        let script = include_str!("../../guest/app.sh").replace(FOLDER, at.to_str().unwrap());
        let id = |option: &str| {
            let told = Command::new("id").arg(option).output().unwrap().stdout;
            String::from_utf8(told).unwrap().trim().to_owned()
        };
        let verb = |verb: &str, input: &[u8]| {
            let mut child = Command::new("sh")
                .args(["-c", &script, "app", verb])
                .envs([("SUDO_UID", id("-u")), ("SUDO_GID", id("-g"))])
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(input).unwrap();
            assert!(child.wait().unwrap().success(), "{verb}");
        };
        let env = env();
        let own = [("HAFEN_COMMIT", "abc".to_owned()), ("LC_ALL", "C.UTF-8".to_owned())];
        let environment = Environment { own: &own, env: &env };
        let secrets = Secrets::from([("TOKEN".to_owned(), Zeroizing::new(b"canary of\nit\n\n".to_vec()))]);
        assert!(!environment.start().contains("canary"));
        verb("build-begin", &environment.archive(&secrets).unwrap());
        assert_eq!((mode(&at), mode(&at.join("credentials/TOKEN"))), (0o700, 0o600));
        let command =
            "printf '%s|%s|%s|' \"$HAFEN_COMMIT\" \"$MODE\" \"$TOKEN\"; cat \"$CREDENTIALS_DIRECTORY/TOKEN\"";
        let start = std::fs::read_to_string(at.join("start")).unwrap().replace(FOLDER, at.to_str().unwrap());
        let run = |command: &str| Command::new("sh").args(["-c", &start, "sh", command]).output().unwrap();
        let told = String::from_utf8(run(command).stdout).unwrap();
        assert_eq!(told, "abc|it's $HOME\nü|canary of\nit\n\n|canary of\nit\n\n");
        assert_eq!(run("false; true").status.code(), Some(1), "each by sh -ec");
        verb("build-end", b"");
        assert!(!at.exists());
        verb("build-end", b"");
    }
}
