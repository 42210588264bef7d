//! A cloud image made here (`scripts/cloud-image`), and what machines of it must be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::platform::{Platform, cache, rest, text};
use crate::real::{machine, ssh, until};

/// Each machine and the other one; each is called as its firmware.
pub const PAIR: [(&str, &str); 2] = [("bios", "uefi"), ("uefi", "bios")];

/// The lists are those that the platform has words of its own for: neither may displace the other's.
const USER_DATA: &str = "#cloud-config
users: [default, { name: someone }]
ssh_pwauth: true
write_files: [{ path: /etc/carried-out, content: \"written\\n\" }]
runcmd: [[sh, -c, 'echo run >>/var/tmp/carried-out']]
";

pub struct Image {
    path: PathBuf,
    sha256: String,
}

impl Image {
    /// From the cache, or made. Another version of the script makes another image.
    pub fn get() -> Self {
        let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/cloud-image"));
        let version = &sha256(script)[..16];
        let path = cache().join(format!("cloud-image-{version}.qcow2"));
        if !path.exists() {
            std::fs::create_dir_all(cache()).unwrap();
            let made = Command::new(script).arg(&path).output().unwrap();
            assert!(made.status.success(), "{}{}", text(&made.stdout), text(&made.stderr));
        }
        Self { sha256: sha256(&path), path }
    }

    fn section(&self, firmware: &str, sha256: &str) -> String {
        let file = self.path.display();
        format!("[image.{firmware}]\nfile = \"{file}\"\nsha256 = \"{sha256}\"\nfirmware = \"{firmware}\"\n")
    }

    /// A machine of each firmware, healthy when its sshd answers. Not asked often: each time an emulated sshd starts a process.
    pub fn manifest(&self, platform: &Platform) {
        let sections = PAIR.map(|(name, _)| {
            let image = self.section(name, &self.sha256);
            format!(
                "{image}[machine.{name}]\nimage = \"{name}\"\nnetwork = \"backend\"\n\
                 user_data = {{ source = \"cloud.yaml\" }}\n\
                 health = {{ tcp = true, port = 22, interval = \"5s\" }}\n"
            )
        });
        let manifest = format!("project = \"hello\"\n[network.backend]\n{}", sections.concat());
        std::fs::write(platform.home.path().join("hafen.toml"), manifest).unwrap();
        std::fs::write(platform.home.path().join("cloud.yaml"), USER_DATA).unwrap();
    }

    pub fn wrong_digest_is_refused(&self, platform: &Platform) {
        let wrong = "0".repeat(64);
        let manifest = format!(
            "project = \"wrong\"\n[network.backend]\n{}[machine.web]\nimage = \"bios\"\nnetwork = \"backend\"\n",
            self.section("bios", &wrong)
        );
        std::fs::write(platform.home.path().join("hafen.toml"), manifest).unwrap();
        let output = platform.run(&["apply", "--yes"]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
        let said = text(&output.stdout) + &text(&output.stderr);
        let expected = format!("its SHA-256 is {}, not {wrong}", self.sha256);
        assert!(said.contains(&expected), "{said}");
        platform.good(&["destroy", "--yes"]);
    }
}

fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).split(' ').next().unwrap().to_owned()
}

/// What a machine says of one of its boots.
pub struct Boot {
    pub id: String,
    /// Of its host key.
    pub certificate: String,
    /// What is the same in each of its boots.
    pub stays: String,
}

/// Waits for a boot that is another one, and checks that all in it is as it must be.
pub fn boot(platform: &Platform, name: &str, other: &str, before: &str) -> Boot {
    until(&format!("a boot of {name}"), platform, || {
        let waits = "cloud-init status --wait >/dev/null; cat /proc/sys/kernel/random/boot_id";
        let said = text(&platform.run(&["ssh", name, "--", waits]).stdout);
        if said.is_empty() || said.trim() == before {
            // Each look takes from the processors that the machines boot on.
            rest(Duration::from_secs(1));
            return None;
        }
        Some(())
    });
    let certificate = "$(sudo sshd -T | sed -n 's/^hostcertificate //p')";
    let said = ssh(
        platform,
        name,
        &[
            ("id", "cat /proc/sys/kernel/random/boot_id"),
            ("certificate", &format!("sudo cat {certificate}")),
            (
                "stays",
                &format!("cat /etc/machine-id; sudo ssh-keygen -L -f {certificate} | grep 'Public key'"),
            ),
            ("name", "hostname -f"),
            ("status", "cloud-init status --format json"),
            ("user-data", "cat /etc/carried-out /var/tmp/carried-out; id -un someone"),
            ("firmware", "test -d /sys/firmware/efi && echo uefi || echo bios"),
            ("address", "ip -4 -o addr show dev eth0"),
            ("route", "ip -4 route show default"),
            ("short", &format!("getent hosts {other}")),
            ("long", &format!("getent hosts {other}.hello.internal")),
            ("disk", "df --output=size -B1M / | tail -n 1"),
        ]
        .map(|(key, command)| format!("echo {key} $({command})\n"))
        .concat(),
    );
    let said: BTreeMap<&str, &str> = said.lines().filter_map(|line| line.split_once(' ')).collect();
    assert_eq!(said["name"], format!("{name}.hello.internal"));
    // Nothing of what cloud-init was told was wrong, or will be in its next version.
    let status: serde_json::Value = serde_json::from_str(said["status"]).unwrap();
    assert_eq!(status["status"], "done", "{status}");
    assert_eq!(status["recoverable_errors"], serde_json::json!({}), "{status}");
    assert_eq!(status["errors"], serde_json::json!([]), "{status}");
    assert_eq!(said["user-data"], "written run someone");
    assert_eq!(said["firmware"], name);
    // Its address is fixed by the seed: nobody asked for a lease.
    let address_of = |name| machine(platform, name)["address"].as_str().unwrap().to_owned();
    let address = said["address"];
    assert!(
        address.contains(&format!(" {}/18 ", address_of(name))) && !address.contains("dynamic"),
        "{address}"
    );
    assert!(said["route"].contains(" dev eth0 proto static"), "{}", said["route"]);
    for spelling in ["short", "long"] {
        assert_eq!(said[spelling], format!("{} {other}.hello.internal", address_of(other)));
    }
    // The disk of 4 GiB is the root's, though the image has 2.
    assert!(said["disk"].parse::<u64>().unwrap() > 3500, "{} MiB", said["disk"]);
    // Its ways in are as the platform sets them up, whatever the user data say, and stay so from boot to boot.
    let checked = platform.run(&["access", "check", name]);
    assert!(checked.status.success(), "{}{}", text(&checked.stdout), text(&checked.stderr));
    let of = |key| String::from(said[key]);
    Boot { id: of("id"), certificate: of("certificate"), stays: of("stays") }
}
