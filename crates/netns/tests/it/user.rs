//! Everything again as an ordinary user, who may open the tun device and nothing else.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::outside::{Host, INSIDE};
use crate::support::{holder, is_root};

/// Neither root nor anybody of this host.
const USER: &str = "23451";

#[test]
fn an_ordinary_user_can_do_all_of_it() {
    if std::env::var_os(INSIDE).is_some() {
        // Here already.
        assert!(!is_root());
        return;
    }
    let host = Host::new();
    // The checkout may be where that user may not go.
    let folder = tempfile::tempdir().unwrap();
    let open =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    open(folder.path(), 0o755);
    let copy = |from: &Path, name: &str| {
        let to = folder.path().join(name);
        std::fs::copy(from, &to).unwrap();
        open(&to, 0o755);
        to
    };
    let tests = copy(&std::env::current_exe().unwrap(), "tests");
    let holder = copy(holder().as_ref(), "holder");
    let home = folder.path().join("home");
    std::fs::create_dir(&home).unwrap();
    open(&home, 0o777);
    let output = host
        .command()
        .args(["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--inh-caps=-all"])
        .arg("--")
        .arg(tests)
        .args(["--test-threads", "2"])
        .env("HAFEN_NETNS_TEST_HOLDER", holder)
        .env(INSIDE, "1")
        .env("TMPDIR", home)
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("egress::logged_egress_lets_out_and_records ... ok"), "{said}");
    assert!(said.contains("0 failed; 0 ignored"), "{said}");
}
