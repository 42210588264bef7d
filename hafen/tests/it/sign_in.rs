//! `hafen login` at a platform elsewhere: over https, by the device flow, allowed by a person in a browser.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::http::send_form;
use crate::people::{Someone, call, first_owner};
use crate::platform::{Platform, program, text};

/// A TLS proxy, as one stands before a platform: to the port that a file names.
const PROXY: &str = "import asyncio,ssl,sys
folder=sys.argv[1]
async def pump(r,w):
    try:
        while d:=await r.read(65536):
            w.write(d); await w.drain()
    except (OSError,ssl.SSLError): pass
    finally: w.close()
async def handle(r,w):
    port=int(open(folder+'/port').read())
    r2,w2=await asyncio.open_connection('127.0.0.1',port)
    await asyncio.gather(pump(r,w2),pump(r2,w))
async def main():
    c=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain(folder+'/leaf.pem',folder+'/leaf.key')
    s=await asyncio.start_server(handle,'127.0.0.1',0,ssl=c)
    print(s.sockets[0].getsockname()[1],flush=True)
    await s.serve_forever()
asyncio.run(main())";

/// A platform behind https, and a computer of somebody who uses it.
struct Elsewhere {
    platform: Platform,
    owner: Someone,
    url: String,
    proxy: Child,
    folder: tempfile::TempDir,
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.proxy.kill();
        let _status = self.proxy.wait();
    }
}

fn openssl(folder: &Path, arguments: &str) {
    let done = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "{arguments}: {}", text(&done.stderr));
}

impl Elsewhere {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("names"), "subjectAltName=DNS:localhost\n").unwrap();
        for line in [
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -subj /CN=Test -days 2",
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -out leaf.csr -subj /CN=localhost",
            "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out leaf.pem",
        ] {
            openssl(folder.path(), line);
        }
        let mut proxy = Command::new("python3")
            .args(["-c", PROXY])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(proxy.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let url = format!("https://localhost:{}", port.trim());
        let platform = Platform::start(&["--public-url", &url]);
        let endpoint = std::fs::read_to_string(platform.home.path().join("api.json")).unwrap();
        let endpoint: Value = serde_json::from_str(&endpoint).unwrap();
        let port = endpoint["url"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
        std::fs::write(folder.path().join("port"), port).unwrap();
        let owner = first_owner(&platform);
        Self { platform, owner, url, proxy, folder }
    }

    /// Run where no platform is, by somebody whose configuration is in the folder.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command
            .args(arguments)
            .env("HAFEN_HOME", self.folder.path().join("no-home"))
            .env("XDG_CONFIG_HOME", self.folder.path().join("config"))
            .env("SSL_CERT_FILE", self.folder.path().join("ca.pem"))
            .env("HOME", self.folder.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stdout));
        text(&output.stderr)
    }

    /// `hafen login`, with this answer given in the browser; its whole output.
    fn login(&self, answer: &str) -> Output {
        let mut child = self
            .command(&["login", "--url", &self.url])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let (mut said, mut page) = (String::new(), None);
        while page.is_none() {
            let mut line = String::new();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "no address: {said}");
            page = line.split_whitespace().find(|word| word.starts_with(&self.url)).map(ToOwned::to_owned);
            said.push_str(&line);
        }
        self.answer(&page.unwrap(), answer);
        std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
        let output = child.wait_with_output().unwrap();
        Output { stderr: said.into_bytes(), ..output }
    }

    /// The owner's browser: opens the page, looks at the code, answers.
    fn answer(&self, page: &str, answer: &str) {
        let path = page.strip_prefix(&self.url).unwrap();
        let code = path.strip_prefix("/oauth/device?user_code=").unwrap();
        let cookie = format!("Cookie: __Host-hafen_session={}\r\n", self.owner.token);
        let (head, html) = send_form(&self.platform, "GET", path, &cookie, "");
        assert!(head.starts_with("HTTP/1.1 200") && html.contains("hafen"), "{head} {html}");
        let form = html.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        let body = format!("form={form}&user_code={code}&answer={answer}");
        let headers = format!("{cookie}Origin: {}\r\n", self.url);
        let (head, html) = send_form(&self.platform, "POST", "/oauth/device", &headers, &body);
        assert!(head.starts_with("HTTP/1.1 200"), "{head} {html}");
    }

    fn stored(&self) -> PathBuf {
        let folder = self.folder.path().join("config/hafen/sign-in");
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        for file in &files {
            assert_eq!(
                std::fs::metadata(file).unwrap().permissions().mode() & 0o077,
                0,
                "{}",
                file.display()
            );
        }
        files.retain(|file| file.extension().is_some_and(|end| end == "json"));
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }

    fn tokens(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.stored()).unwrap()).unwrap()
    }

    /// As if so much time had passed.
    fn expire(&self) {
        let mut tokens = self.tokens();
        tokens["expires_at"] = json!("2020-01-01T00:00:00Z");
        std::fs::write(self.stored(), tokens.to_string()).unwrap();
    }
}

#[test]
fn a_person_signs_in_elsewhere_and_out() {
    let elsewhere = Elsewhere::start();
    assert!(elsewhere.fails(&["whoami"]).contains("hafen login --url URL"));
    let told = elsewhere.fails(&["whoami", "--url", &elsewhere.url]);
    assert!(told.contains("hafen login"), "{told}");
    let denied = elsewhere.login("deny");
    assert_eq!(denied.status.code(), Some(1));
    assert!(text(&denied.stderr).contains("denied in the browser"), "{}", text(&denied.stderr));

    let done = elsewhere.login("allow");
    let said = text(&done.stderr);
    assert!(done.status.success(), "{said}");
    assert!(said.contains("Signed in at") && said.contains("Somebody"), "{said}");
    // No bastion runs there: who has signed in is in nevertheless.
    assert!(said.contains("No SSH certificates"), "{said}");
    assert!(!said.contains("hafen_oat_") && !text(&done.stdout).contains("hafen_"), "no secret is shown");

    // Commands use it, and need not name the platform again.
    let who: Value = serde_json::from_str(&elsewhere.good(&["whoami", "--json"])).unwrap();
    let me = call(&elsewhere.platform, Some(&elsewhere.owner.bearer), "GET", "/whoami", &json!({}));
    assert_eq!((&who["id"], &who["kind"], &who["strong"]), (&me["id"], &"person".into(), &true.into()));
    assert!(elsewhere.good(&["whoami"]).contains("owner of org-"));
    elsewhere.platform.manifest(1, "");
    elsewhere.platform.good(&["apply", "--yes"]);
    let machines: Value =
        serde_json::from_str(&elsewhere.good(&["machine", "list", "-p", "hello", "--json"])).unwrap();
    assert_eq!(machines["items"][0]["name"], "web-1");
    // A console is a byte stream: it too goes through TLS, as this person.
    let mut console = elsewhere.command(&["console", "web-1", "-p", "hello"]);
    let console = console.output().unwrap();
    assert!(console.status.success(), "{}", text(&console.stderr));

    // What is dangerous asks for the second factor again, here as in a browser.
    elsewhere.platform.good(&["team", "create", "web"]);
    let invite = ["invite", "create", "--role", "owner"];
    let told = elsewhere.fails(&invite);
    assert!(told.contains("hafen step-up"), "{told}");
    assert!(elsewhere.fails(&["step-up", "--code", "000000"]).contains("wrong"));
    let code = &elsewhere.owner.recovery_codes[0];
    assert!(elsewhere.good(&["step-up", "--code", code]).contains("Proven until"));
    elsewhere.good(&invite);
    assert!(elsewhere.fails(&["step-up", "--code", code]).contains("error:"), "each is good once");

    // Signed in already: nothing is asked for; what a login then does fails aloud.
    let again = elsewhere.run(&["login"]);
    let said = text(&again.stderr);
    assert!(!said.contains("browser") && said.contains("no bastion runs"), "{said}");

    // Out: the session has ended at the platform, and nothing is left here.
    let tokens = elsewhere.tokens();
    let access = tokens["access_token"].as_str().unwrap().to_owned();
    assert!(elsewhere.good(&["logout"]).contains("Signed out"));
    let folder = elsewhere.folder.path().join("config/hafen/sign-in");
    for file in std::fs::read_dir(folder).unwrap() {
        let left = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!left.contains("hafen_"), "{left}");
    }
    let (head, _) =
        crate::http::send(&elsewhere.platform, "GET", "/api/v1/whoami", Some(&format!("Bearer {access}")));
    assert!(head.starts_with("HTTP/1.1 401"), "{head}");
    assert!(elsewhere.fails(&["whoami"]).contains("hafen login"));
}

#[test]
fn commands_at_once_take_turns_with_the_refresh_token() {
    let elsewhere = Elsewhere::start();
    let done = elsewhere.login("allow");
    assert!(done.status.success(), "{}", text(&done.stderr));
    for _ in 0..3 {
        let before = elsewhere.tokens();
        elsewhere.expire();
        let children: Vec<Child> = (0..6)
            .map(|_| {
                let mut command = elsewhere.command(&["whoami", "--json"]);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
        let after = elsewhere.tokens();
        assert_ne!(before["refresh_token"], after["refresh_token"]);
        assert_ne!(before["access_token"], after["access_token"]);
    }
    // An access token that ended before its time is replaced without a word.
    let mut tokens = elsewhere.tokens();
    tokens["access_token"] = json!("hafen_oat_0000000000000000000000000000000000000000000000000");
    std::fs::write(elsewhere.stored(), tokens.to_string()).unwrap();
    elsewhere.good(&["whoami"]);
    let entries = elsewhere.platform.json(&["ledger", "list", "--limit", "0"]).to_string();
    assert!(entries.contains("client.granted") && !entries.contains("session.stolen"), "{entries}");

    // The session ends at the platform: the next command says what to do, and a login begins anew.
    let sessions = call(&elsewhere.platform, Some(&elsewhere.owner.bearer), "GET", "/sessions", &json!({}));
    let theirs = sessions["items"].as_array().unwrap().iter().find(|one| one["current"] == false).unwrap();
    let path = format!("/sessions/{}", theirs["id"].as_str().unwrap());
    call(&elsewhere.platform, Some(&elsewhere.owner.bearer), "DELETE", &path, &json!({}));
    assert!(elsewhere.fails(&["whoami"]).contains("hafen login"));
    let done = elsewhere.login("allow");
    assert!(done.status.success(), "{}", text(&done.stderr));
    elsewhere.good(&["whoami"]);
}

#[test]
fn a_sign_in_is_sent_over_https_to_who_can_prove_it() {
    let elsewhere = Elsewhere::start();
    let told = elsewhere.run(&["login", "--url", "http://hafen.example.org"]);
    assert_eq!(told.status.code(), Some(2));
    assert!(text(&told.stderr).contains("is not https"), "{}", text(&told.stderr));
    // The machine does not trust who signed this certificate.
    let mut command = elsewhere.command(&["login", "--url", &elsewhere.url]);
    let told = command.env_remove("SSL_CERT_FILE").output().unwrap();
    assert_eq!(told.status.code(), Some(1));
    assert!(!text(&told.stderr).contains("browser"), "{}", text(&told.stderr));
    // The token of a home goes to its own platform only, whatever address is named.
    std::fs::create_dir(elsewhere.folder.path().join("no-home")).unwrap();
    std::fs::write(elsewhere.folder.path().join("no-home/token"), "hafen_00").unwrap();
    assert!(elsewhere.fails(&["whoami", "--url", &elsewhere.url]).contains("nobody is signed in"));
}
