//! The manifest as its authors meet it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    reason = "tests"
)]

use hafen_manifest::{parse, render, schema, source_names};
use proptest::prelude::*;

const GOOD: &str = include_str!("../../../examples/hello/hafen.toml");

fn read(name: &str) -> Result<Vec<u8>, String> {
    if name == "missing" { Err("no such file".into()) } else { Ok(format!("content of {name}").into_bytes()) }
}

#[test]
fn the_example_is_good() {
    let manifest = parse(GOOD, "hafen.toml", &read).unwrap_or_else(|p| panic!("{}", render(&p, GOOD, false)));
    assert_eq!(manifest.project, "hello");
    assert_eq!(manifest.members("web"), ["web-1", "web-2"]);
    let web = manifest.machines.get("web").unwrap();
    assert_eq!((web.memory, web.cpus), (512 << 20, 1));
    assert_eq!(web.health.as_ref().unwrap().port, 80);
    assert_eq!(source_names(GOOD), ["hello.conf"]);
}

/// Each mistake: what is replaced in the good manifest, by what, and the code, line, column and help expected.
#[test]
fn every_mistake_is_shown_at_its_place() {
    let table: &[(&str, &str, &str, &str, &str)] = &[
        ("cpus = 1", "cpu = 1", "unknown_key", "cpu", "did you mean `cpus`?"),
        ("cpus = 1", "cpus = 0", "out_of_range", "0", "write cpus = 1"),
        ("cpus = 1", "cpus = \"1\"", "wrong_type", "\"1\"", "write cpus = 1"),
        ("memory = \"512 MiB\"", "memory = \"5 MiB\"", "out_of_range", "\"5 MiB\"", "512 MiB"),
        ("memory = \"512 MiB\"", "memory = \"much\"", "bad_quantity", "\"much\"", "512 MiB"),
        ("image = \"web\"", "image = \"wen\"", "dangling_name", "\"wen\"", "did you mean \"web\"?"),
        ("network = \"backend\"", "network = \"front\"", "dangling_name", "\"front\"", "backend"),
        ("image = \"web\"\n", "", "missing_key", "web", "write image"),
        ("release = \"trixie\"", "release = \"sid\"", "unknown_value", "\"sid\"", "trixie"),
        ("egress = \"none\"", "egress = \"all\"", "unknown_value", "\"all\"", "logged"),
        ("egress = \"none\"", "egress = { allow = [\"x\"] }", "bad_destination", "\"x\"", "host:port"),
        ("source = \"hello.conf\"", "source = \"../etc/shadow\"", "bad_path", "\"../etc/shadow\"", "beside"),
        ("source = \"hello.conf\"", "source = \"missing\"", "no_file", "\"missing\"", "beside"),
        ("project = \"hello\"", "project = \"Hello\"", "bad_name", "\"Hello\"", "a-z"),
        ("http = \"/\"", "http = \"/\", tcp = true", "bad_health", "{ http", "either"),
        ("http = \"/\"", "http = \"x\"", "bad_path", "\"x\"", "'/'"),
        ("interval = \"2s\"", "interval = \"2\"", "bad_quantity", "\"2\"", "2s"),
        ("port = 80 }", "port = 80000 }", "out_of_range", "80000", "65535"),
        ("127.0.0.1:8081", "localhost", "bad_address", "\"localhost\"", "127.0.0.1"),
        ("count = 2", "count = 2\naddress = \"10.0.0.9\"", "address_of_cluster", "\"10.0.0.9\"", "count"),
        ("count = 2", "count = 20000", "out_of_range", "20000", "10000"),
        ("count = 2", "count = 2\ndepends_on = [\"machine.web\"]", "cycle", "\"machine.web\"", "remove"),
        (
            "count = 2",
            "count = 2\ndepends_on = [\"machine.wec\"]",
            "dangling_name",
            "\"machine.wec\"",
            "machine.web",
        ),
        ("count = 2", "count = = 2", "syntax", "", "toml.io"),
        ("project = \"hello\"\n", "", "missing_key", "", "project"),
    ];
    for (from, to, code, at, help) in table {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replacen(from, to, 1);
        let problems = parse(&text, "hafen.toml", &read).err().unwrap_or_else(|| panic!("accepted: {to}"));
        let shown = render(&problems, &text, false);
        let problem = problems.first().unwrap();
        assert_eq!(problem.code, *code, "{to}\n{shown}");
        let marked = text.get(problem.span.clone()).unwrap();
        assert!(marked.starts_with(at), "{to}: marked {marked:?}\n{shown}");
        assert!(shown.contains(help), "{to}\n{shown}");
        let before = text.get(..problem.span.start).unwrap();
        assert_eq!(problem.line as usize, before.matches('\n').count() + 1, "{shown}");
    }
}

#[test]
fn two_places_that_clash_are_both_shown() {
    let text = format!(
        "{GOOD}\n[network.other]\nsubnet = \"10.40.0.0/24\"\n[network.third]\nsubnet = \"10.40.0.128/25\"\n\
         [machine.web-1]\nimage = \"web\"\nnetwork = \"other\"\npublish = [{{ host = \"127.0.0.1:8081\", port = 1 }}]\n\
         [machine.a]\nimage = \"web\"\nnetwork = \"other\"\naddress = \"10.40.0.20\"\n\
         [machine.b]\nimage = \"web\"\nnetwork = \"other\"\naddress = \"10.40.0.20\"\n"
    );
    let problems = parse(&text, "hafen.toml", &read).unwrap_err();
    let codes: Vec<_> = problems.iter().map(|problem| (problem.code, problem.related.is_some())).collect();
    let shown = render(&problems, &text, false);
    assert_eq!(
        codes.iter().filter(|(code, both)| *code == "duplicate_address" && *both).count(),
        2,
        "{shown}"
    );
    assert_eq!(codes.iter().filter(|(code, both)| *code == "duplicate_name" && *both).count(), 1, "{shown}");
    assert!(codes.contains(&("overlapping_subnet", true)), "{shown}");
}

#[test]
fn all_problems_come_at_once() {
    let text =
        GOOD.replace("cpus = 1", "cpus = 0").replace("\"512 MiB\"", "512").replace("\"trixie\"", "\"sid\"");
    assert_eq!(parse(&text, "hafen.toml", &read).unwrap_err().len(), 3);
}

#[test]
fn ten_thousand_machines_are_read_in_no_time() {
    let text = GOOD.replace("count = 2", "count = 10000");
    let start = std::time::Instant::now();
    let manifest = parse(&text, "hafen.toml", &read).unwrap();
    assert_eq!(manifest.members("web").len(), 10_000);
    in_time(start, 100);
}

#[test]
fn ten_thousand_sections_are_read_in_no_time() {
    let sections: String = (0..10_000)
        .map(|n| {
            format!(
                "[machine.m{n}]\nimage = \"web\"\nnetwork = \"backend\"\nmetadata = {{ team = \"shop\" }}\n"
            )
        })
        .collect();
    let head = GOOD.split("[machine.web]").next().unwrap();
    let text = format!("{head}\n{sections}");
    let start = std::time::Instant::now();
    assert_eq!(parse(&text, "hafen.toml", &read).unwrap().machines().len(), 10_000);
    in_time(start, 100);
}

/// Milliseconds in an optimised build; an unoptimised one on a busy machine gets 50 times as long, which still catches
/// quadratic work.
fn in_time(start: std::time::Instant, millis: u128) {
    let (bound, took) = (if cfg!(debug_assertions) { millis * 50 } else { millis }, start.elapsed());
    eprintln!("took {took:?}");
    assert!(took.as_millis() < bound, "{took:?}");
}

#[test]
fn machines_are_expanded_in_order() {
    let text = GOOD.replace("count = 2", "count = 11");
    let manifest = parse(&text, "hafen.toml", &read).unwrap();
    let names: Vec<String> = manifest.machines().into_iter().map(|member| member.name).collect();
    assert_eq!(names.first().unwrap(), "web-1");
    assert_eq!((names.get(1).unwrap().as_str(), names.last().unwrap().as_str()), ("web-2", "web-11"));
    let one = parse(&GOOD.replace("count = 2", "count = 1"), "hafen.toml", &read).unwrap();
    assert_eq!(one.members("web"), ["web-1"]);
    let none = parse(&GOOD.replace("count = 2\n", ""), "hafen.toml", &read).unwrap();
    assert_eq!(none.members("web"), ["web"]);
}

#[test]
fn every_default_is_explicit() {
    let text = "project = \"p\"\n[network.n]\n[image.i]\ndistribution = \"debian\"\nrelease = \"trixie\"\n\
                [machine.m]\nimage = \"i\"\nnetwork = \"n\"\nhealth = { tcp = true }\n";
    let manifest = parse(text, "hafen.toml", &read).unwrap();
    let machine = manifest.machines.get("m").unwrap();
    assert_eq!((machine.cpus, machine.memory, machine.disk), (1, 512 << 20, 4 << 30));
    assert_eq!((machine.count, machine.start.as_str()), (None, "warm"));
    let health = machine.health.as_ref().unwrap();
    assert_eq!((health.port, health.interval.as_millis(), health.timeout.as_millis()), (80, 2000, 1000));
    assert_eq!((health.http.as_ref(), health.healthy_after), (None, 1));
    assert_eq!(manifest.networks.get("n").unwrap().egress, hafen_manifest::Egress::None);
}

/// A manifest can come from anywhere: what is shown stays small and cannot steer a terminal, and nothing is quadratic.
#[test]
fn a_hostile_manifest_costs_little_and_shows_little() {
    let long = "x".repeat(1 << 20);
    let subnets: String =
        (0..20_000).map(|n| format!("[network.n{n}]\nsubnet = \"10.0.0.0/24\"\n")).collect();
    let chain: String = (0..5_000)
        .map(|n| {
            let back = if n % 2 == 0 { "0" } else { "1" };
            format!("[machine.m{n}]\nimage = \"i\"\nnetwork = \"n\"\ndepends_on = [\"machine.m{}\", \"machine.m{back}\"]\n", n + 1)
        })
        .collect();
    for text in [
        format!("project = \"{long}\"\n{long} = 1\n"),
        format!("{long} = [{}", "[".repeat(100_000)),
        format!("a = {}", "{a = ".repeat(100_000)),
        format!("project = \"p\"\n{subnets}"),
        format!("project = \"p\"\n{chain}"),
        "project = \"p\" # \u{1b}[2J\u{202e}\n = \u{1b}\n".to_owned(),
        (0..100_000).map(|n| format!("k{n} = 1\n")).collect(),
    ] {
        let start = std::time::Instant::now();
        let problems = parse(&text, "hafen.toml", &read).unwrap_err();
        assert!((1..=50).contains(&problems.len()), "{}", problems.len());
        let shown = render(&problems, &text, false);
        assert!(shown.len() < 100_000, "{}", shown.len());
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown}");
        in_time(start, 400);
    }
}

#[test]
fn a_large_file_named_often_is_not_held_often() {
    let files: String = (0..100).map(|n| format!("files.\"/f{n}\" = {{ source = \"big\" }}\n")).collect();
    let text =
        format!("project = \"p\"\n[image.i]\ndistribution = \"debian\"\nrelease = \"trixie\"\n{files}");
    let reads = std::cell::Cell::new(0);
    let big = |_: &str| {
        reads.set(reads.get() + 1);
        Ok(vec![0; 8 << 20])
    };
    let problems = parse(&text, "hafen.toml", &big).unwrap_err();
    assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["too_large"]);
    assert_eq!(reads.get(), 9);
}

/// `HAFEN_UPDATE=1` writes it.
#[test]
fn the_committed_schema_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/hafen.schema.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    if std::env::var_os("HAFEN_UPDATE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    // As values: the order of keys is another when this crate is built alone (a feature of serde_json).
    let committed: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(committed, schema(), "run with HAFEN_UPDATE=1");
}

fn holds_together(text: &str) -> Result<(), TestCaseError> {
    if let Err(problems) = parse(text, "hafen.toml", &read) {
        prop_assert!((1..=50).contains(&problems.len()));
        for problem in &problems {
            prop_assert!(problem.span.start <= text.len() && problem.line >= 1 && problem.column >= 1);
            prop_assert!(problem.line as usize <= text.matches('\n').count() + 1);
        }
        let _shown = render(&problems, text, true);
    }
    let _names = source_names(text);
    Ok(())
}

/// Pieces that make sense somewhere, so that a random mixture gets past the syntax.
const PIECES: &[&str] = &[
    "[machine.a]\n",
    "[machine.\"ü\"]\n",
    "[image.i]\n",
    "[network.n]\n",
    "[quota]\n",
    "project = ",
    "count = ",
    "image = ",
    "network = ",
    "egress = ",
    "subnet = ",
    "publish = ",
    "health = ",
    "metadata = ",
    "depends_on = ",
    "address = ",
    "files.\"/a\" = ",
    "user_data = ",
    "sha256 = ",
    "url = ",
    "memory = ",
    "cpus = ",
    "\"a\"",
    "\"machine.a\"",
    "\"10.0.0.0/12\"",
    "\"10.0.0.9\"",
    "[{ host = \"0.0.0.0:1\", port = 1 }]",
    "{ http = \"/\" }",
    "{ source = \"f\" }",
    "{ allow = [\"a:1\"] }",
    "-9223372036854775808",
    "0xffff",
    "1e400",
    "nan",
    "1979-05-27",
    "true",
    "[]",
    "{}",
    "\"\"\"\n\"\"\"",
    "\n",
    "\r\n",
    "\t",
    "#",
];

proptest! {
    #[test]
    fn any_text_is_survived(text in any::<String>()) {
        holds_together(&text)?;
    }

    #[test]
    fn any_mixture_of_pieces_is_survived(picks in proptest::collection::vec((0..PIECES.len(), any::<bool>()), 0..60)) {
        let text: String = picks
            .iter()
            .map(|(at, end)| format!("{}{}", PIECES[*at], if *end { "\n" } else { "" }))
            .collect();
        holds_together(&text)?;
    }

    #[test]
    fn nothing_panics_and_every_mark_lies_in_the_text(start in 0_usize..900, length in 0_usize..40, put in ".{0,12}") {
        let from = GOOD.char_indices().map(|(at, _)| at).find(|at| *at >= start).unwrap_or(GOOD.len());
        let to = GOOD.char_indices().map(|(at, _)| at).find(|at| *at >= from + length).unwrap_or(GOOD.len());
        let text = format!("{}{put}{}", &GOOD[..from], &GOOD[to..]);
        holds_together(&text)?;
    }
}
