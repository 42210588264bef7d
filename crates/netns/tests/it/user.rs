//! Everything again as an ordinary user, who may open the tun device and nothing else.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use hafen_netns::{Egress, Error, TapConfig, requirements};

use crate::outside::{Host, INSIDE, is_inside};
use crate::support::{Home, holder, is_root, mac};

/// Neither root nor anybody of this host.
const USER: &str = "23451";
const NO_TUN: &str = "HAFEN_NETNS_TEST_NO_TUN";

/// These tests and the holder, where an ordinary user may go: a checkout may be elsewhere.
struct Programs {
    tests: PathBuf,
    holder: PathBuf,
    home: PathBuf,
}

impl Programs {
    fn copy(folder: &Path) -> Self {
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        open(folder, 0o755);
        let copy = |from: &Path, name: &str| {
            let to = folder.join(name);
            std::fs::copy(from, &to).unwrap();
            open(&to, 0o755);
            to
        };
        let tests = copy(&std::env::current_exe().unwrap(), "tests");
        let holder = copy(holder().as_ref(), "holder");
        let home = folder.join("home");
        std::fs::create_dir(&home).unwrap();
        open(&home, 0o777);
        Self { tests, holder, home }
    }

    /// Runs tests as the user, with a umask that shuts everybody else out, and gives back what they said.
    fn run(&self, command: &mut Command, arguments: &[&str]) -> String {
        let output = command
            .args(["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--inh-caps=-all", "--"])
            .args(["sh", "-c", "umask 0077; exec \"$@\"", "sh"])
            .arg(&self.tests)
            .args(arguments)
            .env("HAFEN_NETNS_TEST_HOLDER", &self.holder)
            .env(INSIDE, "1")
            .env("TMPDIR", &self.home)
            .current_dir("/")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        said
    }
}

#[test]
fn an_ordinary_user_can_do_all_of_it() {
    if is_inside() {
        // Here already.
        assert!(!is_root());
        return;
    }
    let host = Host::new();
    let folder = tempfile::tempdir().unwrap();
    let said = Programs::copy(folder.path()).run(&mut host.command(), &["--test-threads", "2"]);
    assert!(said.contains("egress::logged_egress_lets_out_and_records ... ok"), "{said}");
    assert!(said.contains("0 failed; 0 ignored"), "{said}");
}

/// A network without a tun device, whoever runs it. Part of the next test.
#[tokio::test]
async fn without_a_tun_device() {
    if std::env::var_os(NO_TUN).is_none() {
        return;
    }
    let home = Home::new();
    let network = home.network("n-1", Egress::None).await;
    let config = network.status().await.unwrap().config;
    let address = Ipv4Addr::from_bits(config.subnet.to_bits() + 9);
    let tap = TapConfig { machine: "web-1".into(), mac: mac(9), address };
    let error = network.tap(&tap).await.unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    assert!(error.to_string().contains("sudo chmod 0666 /dev/net/tun"), "{error}");
    let lacking: Vec<_> = requirements().into_iter().filter(|requirement| !requirement.ok).collect();
    assert_eq!(lacking.len(), 1, "{lacking:?}");
    assert!(lacking[0].fix.contains("sudo chmod 0666 /dev/net/tun"), "{lacking:?}");
}

#[test]
fn what_an_ordinary_user_lacks_is_told() {
    if is_inside() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = Programs::copy(folder.path());
    let closed = "mount -t tmpfs none /mnt && mknod /mnt/tun c 10 200 && chmod 0600 /mnt/tun && \
                  mount --bind /mnt/tun /dev/net/tun && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--", "sh", "-c", closed, "sh"]);
    let said = program.run(command.env(NO_TUN, "1"), &["--exact", "user::without_a_tun_device"]);
    assert!(said.contains("1 passed"), "{said}");
}
