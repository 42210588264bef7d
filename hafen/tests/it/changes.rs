//! The stream of changes: the steps of an apply, as a console follows them.

use std::io::BufRead as _;

use serde_json::{Value, json};

use crate::roles::World;
use crate::tenants::Stream;

/// Frames as name and data, up to one of this kind.
fn frames(stream: &mut Stream, kind: &str) -> Vec<(String, Value)> {
    let (mut seen, mut name) = (Vec::new(), String::new());
    loop {
        let mut line = String::new();
        assert!(stream.0.read_line(&mut line).unwrap() > 0, "it ended before {kind}: {seen:?}");
        if let Some(event) = line.strip_prefix("event: ") {
            event.trim_end().clone_into(&mut name);
        }
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let data: Value = serde_json::from_str(data).unwrap();
        let found = data["kind"] == kind;
        seen.push((name.clone(), data));
        if found {
            return seen;
        }
    }
}

fn begun(world: &World, token: &str) -> Stream {
    let mut stream = Stream::of("changes", &world.platform, token, "");
    let mut line = String::new();
    while line != ": from now on\n" {
        line.clear();
        assert!(stream.0.read_line(&mut line).unwrap() > 0, "it has begun");
    }
    stream
}

#[test]
fn the_steps_of_an_apply_are_seen_in_order_by_who_may_and_kept_nowhere() {
    let world = World::new();
    world.make("PUT", "/projects/other", &json!({}));
    world.make("PUT", "/project-owners/other", &json!({ "team": "web" }));
    let viewer = world.account("viewer", "project/hello", "viewer", &json!({}));
    let stranger = world.account("stranger", "project/other", "viewer", &json!({}));
    let (mut seen, mut unseen) = (begun(&world, &viewer), begun(&world, &stranger));
    world.platform.manifest(3, "");
    world.platform.good(&["apply", "--yes"]);

    let frames_of_apply = frames(&mut seen, "apply.succeeded");
    let of_apply: Vec<&(String, Value)> = frames_of_apply
        .iter()
        .filter(|(_, data)| data["kind"].as_str().unwrap().starts_with("apply."))
        .collect();
    assert_eq!((of_apply[0].0.as_str(), &of_apply[0].1["kind"]), ("change", &json!("apply.started")));
    let steps = &of_apply[1..of_apply.len() - 1];
    assert!(
        steps.iter().all(|(name, data)| {
            name == "progress"
                && data["kind"] == "apply.step"
                && data["seq"] == 0
                && data["object"] == of_apply[0].1["object"]
        }),
        "{steps:?}"
    );
    let at = |what: &str| {
        let found = steps.iter().position(|(_, data)| data["message"].as_str().unwrap().starts_with(what));
        found.unwrap_or_else(|| panic!("{what}: {steps:?}"))
    };
    for machine in ["machine.web-2", "machine.web-3"] {
        assert!(at(&format!("{machine}: running")) < at(&format!("{machine}: done")), "{steps:?}");
    }
    for kept in [world.make("GET", "/changes?limit=1000", &json!({})), {
        world.platform.json(&["ledger", "list", "--limit", "0"])
    }] {
        let text = kept.to_string();
        assert!(text.contains("apply.succeeded") && !text.contains("apply.step"), "{text}");
    }

    // Of another's project: not even that it goes on.
    world.make(
        "PUT",
        "/projects/other",
        &json!({ "quota": { "machines": 7, "cpus": 7, "memory": 7, "disk": 7 } }),
    );
    let last = frames(&mut unseen, "project.quota");
    assert!(last.iter().all(|(_, data)| data["project"] == "other"), "{last:?}");
}
