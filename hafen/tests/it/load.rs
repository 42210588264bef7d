//! Requests to a host through the edge, for as long as a test wants, by stock curl: one client of HTTP/1.1 and one of HTTP/2,
//! each over a connection that it keeps. What they count is what a user would have noticed. Thirty requests a second in all: more
//! of them leave an unoptimised platform no time on two processors that emulate three machines, and tell nothing more.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::edge::edge;
use crate::platform::{Platform, text, until};

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Told {
    pub answered: usize,
    pub failed: Vec<String>,
    /// What was answered last.
    pub last: String,
}

pub struct Load {
    clients: Vec<(Child, PathBuf)>,
}

impl Drop for Load {
    fn drop(&mut self) {
        for (child, _) in &mut self.clients {
            // It may have ended by itself.
            let _gone = child.kill();
            let _status = child.wait();
        }
    }
}

impl Load {
    /// Begins to ask `https://HOST/`, whose certificate is of the platform's own authority.
    pub fn begin(platform: &Platform, host: &str) -> Self {
        let home = platform.home.path();
        let root = home.join("root.pem");
        std::fs::write(&root, platform.good(&["certificate", "authority"])).unwrap();
        let at: SocketAddr = edge(platform, "https");
        let mut clients = Vec::new();
        for version in ["--http1.1", "--http2"] {
            let out = home.join(format!("load{version}"));
            let file = std::fs::File::create(&out).unwrap();
            let mut curl = Command::new("curl");
            curl.args(["-sS", version, "--max-time", "30", "--rate", "900/m", "--write-out"])
                // A body, then this line: no body of a test begins with a tab.
                .arg("\n\t%{http_code} %{errormsg}\n")
                .arg("--resolve")
                .arg(format!("{host}:{}:127.0.0.1", at.port()))
                .arg("--cacert")
                .arg(&root)
                .arg(format!("https://{host}:{}/?[1-1000000]", at.port()));
            let child = curl
                .stdin(Stdio::null())
                .stdout(file.try_clone().unwrap())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            clients.push((child, out));
        }
        let load = Self { clients };
        until("the first answers", || (load.told().answered > 10).then_some(()));
        load
    }

    /// What became of the requests until now.
    pub fn told(&self) -> Told {
        let mut told = Told::default();
        for (_, out) in &self.clients {
            let said = text(&std::fs::read(out).unwrap());
            // The last line may be half a line.
            let whole = said.rfind('\n').map_or("", |end| &said[..end]);
            let mut body = String::new();
            for line in whole.lines() {
                match line.strip_prefix('\t').map(str::trim) {
                    None => body.push_str(line),
                    Some("200") => {
                        told.answered += 1;
                        told.last = std::mem::take(&mut body);
                    }
                    Some(other) => told.failed.push(format!("{other}: {}", std::mem::take(&mut body))),
                }
            }
        }
        told
    }

    /// Ends the clients.
    pub fn end(self) -> Told {
        let told = self.told();
        drop(self);
        told
    }
}
