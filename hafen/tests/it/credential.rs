//! The master key from a TPM: sealed by `systemd-creds` in a real TPM 2 in software, given to the platform as systemd gives
//! it to a service (`LoadCredentialEncrypted=`).

use std::path::Path;
use std::process::Command;

use crate::platform::{Platform, text};

/// Runs with a TPM whose state lies in a folder, in namespaces of its own: `/var/lib/systemd`, where the host's secret would
/// be made, is the test's, and so is the loopback that the TPM listens on.
fn with_tpm(state: &Path, command: &str) -> (bool, String) {
    std::fs::create_dir_all(state).unwrap();
    let script = format!(
        "set -e; mount -t tmpfs none /var/lib/systemd; ip link set lo up\n\
         swtpm socket --tpm2 --tpmstate dir={state} --server type=tcp,port=2321,bindaddr=127.0.0.1 \
         --ctrl type=tcp,port=2322,bindaddr=127.0.0.1 --flags startup-clear &\n\
         tpm=$!; trap 'kill $tpm' EXIT\n\
         for i in $(seq 200); do grep -q ':0911 ' /proc/net/tcp && break; sleep 0.05; done\n\
         TPM=swtpm:host=127.0.0.1,port=2321; {command}",
        state = state.display()
    );
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "timeout", "120", "sh", "-c", &script])
        .output()
        .unwrap();
    (output.status.success(), text(&output.stderr))
}

#[test]
fn the_key_comes_from_a_tpm() {
    for program in ["swtpm", "systemd-creds"] {
        let there = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
        assert!(there.status.success(), "apt-get install swtpm libtss2-tcti-swtpm0 tpm2-tools systemd");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (sealed, given) = (path("hafen-key.cred"), path("credentials"));
    std::fs::create_dir(&given).unwrap();
    let (sealed, key) = (sealed.display(), given.join("hafen-key"));
    // As the how-to says, but for the name of the TPM.
    let (made, said) = with_tpm(
        &path("tpm"),
        &format!(
            "openssl rand -base64 32 | systemd-creds encrypt --with-key=tpm2 --tpm2-device=$TPM --name=hafen-key - {sealed}"
        ),
    );
    assert!(made, "{said}");
    let open =
        format!("systemd-creds decrypt --tpm2-device=$TPM --name=hafen-key {sealed} {}", key.display());
    let (opened, said) = with_tpm(&path("another-tpm"), &open);
    assert!(!opened, "another TPM opens it: {said}");
    let (opened, said) = with_tpm(&path("tpm"), &open);
    assert!(opened, "{said}");
    // What a service's user sees of it under systemd.
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o440)).unwrap();

    let mut platform = Platform::on(vec!["env".into(), format!("CREDENTIALS_DIRECTORY={}", given.display())]);
    let home = platform.home.path().to_owned();
    assert!(home.join("ca/user_ca").exists() && !home.join("key").exists());
    platform.kill();
    // The sealed keys are of no use without it.
    std::fs::write(&key, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
    let refused = platform.run(&["serve", "--engine", "sim", "--listen", "127.0.0.1:0"]);
    assert!(!refused.status.success(), "{}", text(&refused.stdout));
    assert!(text(&refused.stderr).contains("another master key sealed it"), "{}", text(&refused.stderr));
}
