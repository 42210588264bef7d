//! Each mistake at its exact place: what is replaced in a good manifest, and `code line:column message` as expected.
#![allow(clippy::panic, reason = "tests")]

use hafen_manifest::{parse, render};

const GOOD: &str = "\
project = \"shop\"

[network.backend]
egress = \"none\"
subnet = \"10.40.0.0/24\"

[image.web]
distribution = \"debian\"
release = \"trixie\"
packages = [\"nginx-light\"]
files.\"/etc/motd\" = { content = \"hi\", mode = \"0644\" }

[image.cloud]
url = \"https://images.example.org/a.qcow2\"
sha256 = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"
firmware = \"uefi\"

[machine.db]
image = \"cloud\"
network = \"backend\"
address = \"10.40.0.20\"

[machine.web]
count = 2
image = \"web\"
network = \"backend\"
publish = [{ host = \"127.0.0.1:8081\", port = 80 }]
health = { tcp = true, timeout = \"1s\" }
metadata = { team = \"shop\" }
depends_on = [\"machine.db\"]

[quota]
machines = 5
memory = \"4 GiB\"
";

const TABLE: &[(&str, &str, &str)] = &[
    ("project = \"shop\"", "name = \"shop\"", "unknown_key 1:1 a manifest has no key `name`"),
    ("project = \"shop\"", "project = 7", "wrong_type 1:11 `project` is an integer; it must be a string"),
    ("[network.backend]", "[network.Backend]", "bad_name 3:10 \"Backend\" cannot be the name of a network"),
    ("[network.backend]", "[networks.backend]", "unknown_key 3:2 a manifest has no key `networks`"),
    ("\"none\"", "{ }", "missing_key 4:10 this `egress` lacks `allow`"),
    ("\"none\"", "{ allow = [\"a:1\", \"b\"] }", "bad_destination 4:28 \"b\" is not a destination"),
    ("\"none\"", "{ allow = [\"-a.org:1\"] }", "bad_destination 4:21 \"-a.org:1\" is not a destination"),
    ("\"none\"", "{ allow = [] }", "out_of_range 4:10 0 destinations are named; it must be 1 to 256"),
    (
        "10.40.0.0/24",
        "10.40.0.1/24",
        "bad_subnet 5:10 \"10.40.0.1/24\" is not a private IPv4 network of /12 to /28 whose host bits are zero",
    ),
    (
        "packages = [",
        "packages = [1, ",
        "wrong_type 10:13 an entry of `packages` is an integer; it must be a string",
    ),
    ("nginx-light", "nginx light", "bad_package 10:13 \"nginx light\" is not the name of a Debian package"),
    ("/etc/motd", "/etc/../motd", "bad_path 11:7 \"/etc/../motd\" is not a path in the image"),
    ("\"0644\"", "\"0888\"", "bad_mode 11:46 \"0888\" is not a mode"),
    (
        "content = \"hi\"",
        "source = \"/etc/shadow\"",
        "bad_path 11:32 \"/etc/shadow\" does not lie beside the manifest",
    ),
    ("content = \"hi\", ", "", "missing_key 11:21 neither `source` nor `content` is given"),
    ("https://", "http://", "bad_url 14:7 \"http://images.example.org/a.qcow2\" is not an https:// URL"),
    ("sha256 = \"0123", "# \"", "missing_key 13:8 a cloud image needs its `sha256`"),
    ("firmware = \"uefi\"", "firmware = \"efi\"", "unknown_value 16:12 `firmware` is \"efi\""),
    ("image = \"cloud\"", "image = \"clod\"", "dangling_name 19:9 there is no image \"clod\""),
    (
        "10.40.0.20",
        "10.40.1.20",
        "bad_address 21:11 10.40.1.20 is not an address for a machine of 10.40.0.0/24",
    ),
    ("subnet =", "# =", "bad_address 21:11 a fixed address needs a network with a fixed `subnet`"),
    ("count = 2", "count = 2.5", "wrong_type 24:9 `count` is a float; it must be a whole number"),
    ("count = 2", "count = -1", "out_of_range 24:9 `count` is -1; it must be between 0 and 10000"),
    (
        "count = 2",
        "count = 10000",
        "too_many 23:10 the manifest asks for 10001 machines; at most 10000 fit into one project",
    ),
    ("count = 2", "cuont = 2", "unknown_key 24:1 a machine has no key `cuont`"),
    ("port = 80 ", "port = 0 ", "out_of_range 27:46 `port` is 0; it must be between 1 and 65535"),
    ("port = 80 ", "", "missing_key 27:12 publish needs `port`"),
    (
        "timeout = \"1s\"",
        "timeout = \"1h\"",
        "out_of_range 28:34 `timeout` is \"1h\"; it must be between 100 ms and 10 min",
    ),
    ("tcp = true", "tcp = \"yes\"", "wrong_type 28:18 `tcp` is a string; it must be true or false"),
    ("team = \"shop\"", "team = 1", "wrong_type 29:21 `team` is an integer; it must be a string"),
    ("\"machine.db\"", "\"db\"", "dangling_name 30:15 there is no section \"db\""),
    (
        "machines = 5",
        "machines = 5\ncpus = \"2\"",
        "wrong_type 34:8 `cpus` is a string; it must be a whole number",
    ),
    ("\"4 GiB\"", "4", "wrong_type 34:10 `memory` is an integer; it must be a string"),
    (
        "address = \"10.40.0.20\"",
        "depends_on = [\"machine.web\"]",
        "cycle 30:15 the dependencies run in a circle: db → web → db",
    ),
    // User data needs cloud-init, which an image built here has only when it is named.
    (
        "image = \"web\"",
        "image = \"web\"\nuser_data = { content = \"#cloud-config\" }",
        "no_cloud_init 26:1 `user_data` is read by cloud-init, and image \"web\" does not have it",
    ),
    // db and two of web; eleven addresses are not for machines.
    (
        "count = 2",
        "count = 245",
        "small_subnet 5:10 10.40.0.0/24 has room for 245 machines, and 246 are in network \"backend\"",
    ),
    // An escape in a key must not reach the terminal.
    ("machines = 5", "\"\\u001b[2J\" = 5", "unknown_key 33:1 a quota has no key `\\u{1b}[2J`"),
    // The same key twice.
    ("count = 2", "count = 2\ncount = 3", "syntax 25:1 duplicate key"),
    ("count = 2", "count = two", "syntax 24:9 "),
];

fn read(name: &str) -> Result<Vec<u8>, String> {
    Err(format!("no {name}"))
}

fn first(text: &str) -> String {
    match parse(text, "hafen.toml", &read) {
        Ok(_) => "accepted".to_owned(),
        Err(problems) => problems.first().map_or_else(String::new, |problem| {
            format!("{} {}:{} {}", problem.code, problem.line, problem.column, problem.message)
        }),
    }
}

#[test]
fn every_mistake_has_its_code_line_column_and_message() {
    if let Err(problems) = parse(GOOD, "hafen.toml", &read) {
        panic!("{}", render(&problems, GOOD, false));
    }
    let mut wrong = Vec::new();
    for (from, to, expected) in TABLE {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replacen(from, to, 1);
        let found = first(&text);
        let same =
            if expected.starts_with("syntax") { found.starts_with(expected) } else { found == *expected };
        if !same {
            wrong.push(format!("{to}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn user_data_is_taken_where_something_reads_it_and_a_subnet_that_is_just_large_enough_is() {
    let data = "user_data = { content = \"#cloud-config\" }";
    let cloud = GOOD.replace("image = \"cloud\"", &format!("image = \"cloud\"\n{data}"));
    let built = GOOD
        .replace("image = \"web\"", &format!("image = \"web\"\n{data}"))
        .replace("[\"nginx-light\"]", "[\"nginx-light\", \"cloud-init\"]");
    let full = GOOD.replace("count = 2", "count = 244");
    for text in [cloud, built, full] {
        assert_eq!(first(&text), "accepted", "{text}");
    }
    let text = GOOD.replace("image = \"web\"", &format!("image = \"web\"\n{data}"));
    let shown =
        parse(&text, "hafen.toml", &read).map_or_else(|all| render(&all, &text, false), |_| String::new());
    assert!(shown.contains("packages = [\"nginx-light\", \"cloud-init\"] in [image.web]"), "{shown}");
    assert!(shown.contains("hafen.toml:26:1") && shown.contains("this image"), "{shown}");
    let text = GOOD.replace("count = 2", "count = 245");
    let shown =
        parse(&text, "hafen.toml", &read).map_or_else(|all| render(&all, &text, false), |_| String::new());
    assert!(shown.contains("take a /23"), "{shown}");
}

#[test]
fn line_ends_tabs_wide_characters_and_a_byte_order_mark_do_not_move_the_place() {
    for (from, to, expected) in TABLE.iter().filter(|(_, _, expected)| !expected.starts_with("syntax")) {
        let text = GOOD.replacen(from, to, 1);
        assert_eq!(first(&text.replace('\n', "\r\n")), *expected, "CRLF: {to}");
    }
    let text = GOOD.replace("count = 2", "\tcount\t=\t0x1_0000");
    assert_eq!(first(&text), "out_of_range 24:10 `count` is 0x1_0000; it must be between 0 and 10000");
    let text = GOOD.replace("team = \"shop\"", "team = \"漢字 ü\", site = 1");
    assert_eq!(first(&text), "wrong_type 29:36 `site` is an integer; it must be a string");
    let text = format!("\u{feff}{}", GOOD.replace("\"shop\"\n\n", "7\n\n"));
    assert_eq!(first(&text), "wrong_type 1:11 `project` is an integer; it must be a string");
}
