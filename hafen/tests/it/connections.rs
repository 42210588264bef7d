//! Who reached into a machine by the API stands in the events, and so in the ledger: beginning, end, bytes, duration.

use std::io::Write as _;
use std::process::Stdio;

use crate::platform::{Platform, text, until};

#[test]
fn consoles_and_ports_are_written_down() {
    let platform = Platform::start(&[]);
    platform.manifest(1, "");
    platform.good(&["apply", "--yes"]);
    for (arguments, kind, typed) in [
        (&["console", "web-1"][..], "machine.console", "hi\n"),
        (&["dial", "web-1", "80"], "machine.connection", "GET / HTTP/1.0\r\n\r\n"),
    ] {
        let mut command = platform.command(arguments);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        let (opened, closed) = until("its end is written down", || {
            let events = platform.json(&["events"]);
            let items = events["items"].as_array().unwrap();
            let find =
                |what: &str| items.iter().find(|event| event["kind"] == format!("{kind}_{what}")).cloned();
            Some((find("opened")?, find("closed")?))
        });
        assert_eq!(opened["data"]["connection"], closed["data"]["connection"]);
        for event in [&opened, &closed] {
            assert_eq!(
                (event["project"].as_str(), event["object"].as_str()),
                (Some("hello"), Some("machine/web-1"))
            );
            assert_eq!(event["actor"]["kind"], "local_operator", "{event}");
        }
        assert_eq!(closed["data"]["sent"], typed.len(), "{closed}");
        assert_eq!(closed["data"]["received"], output.stdout.len(), "{closed}");
        until("the ledger has it", || {
            let list = platform.json(&["ledger", "list"]);
            let items = list["items"].as_array().unwrap();
            items.iter().any(|entry| entry["kind"] == format!("{kind}_closed")).then_some(())
        });
    }
}
