//! Runs every `$` line of `docs/tutorial.md`, in one shell, as a reader would.

use std::process::{Command, Stdio};

use crate::platform::{cache, text};
use crate::real;

/// The commands of the console blocks; `> ` lines go on with the one before.
fn script(page: &str) -> String {
    let mut script = String::new();
    let mut inside = false;
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(language) => inside = language == "console",
            None if inside => {
                if let Some(command) = line.strip_prefix("$ ") {
                    script.push_str(command);
                    script.push('\n');
                } else if let Some(more) = line.strip_prefix('>') {
                    script.push_str(more.strip_prefix(' ').unwrap_or(more));
                    script.push('\n');
                }
            }
            None => {}
        }
    }
    script
}

#[test]
fn the_tutorial_works() {
    let _turn = real::turn();
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tutorial.md")).unwrap();
    let script = script(&page).replace("8081", &real::free_port().to_string());
    assert!(script.lines().count() > 30, "the page has its commands:\n{script}");
    let folder = tempfile::Builder::new().prefix("hafen-tutorial-").tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let programs = std::path::Path::new(env!("CARGO_BIN_EXE_hafen")).parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    // What is left in the background ends with the shell.
    let script = format!("set -euxo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}");
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("PATH", path)
        .env("HAFEN_CACHE", cache())
        .env_remove("HAFEN_URL")
        .env_remove("HAFEN_TOKEN")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    let printed = text(&output.stdout);
    for part in ["hello from web-", "web-3", "drift is told by exit code 3"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
}
