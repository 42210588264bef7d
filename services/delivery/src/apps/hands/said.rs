//! What machines and processes say, read.

use hafen_client::Duplex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Looked, LookedProcess};

/// One request, and whether its answer is a good one.
pub(super) async fn answer(mut stream: Duplex, path: &str) -> Result<(), String> {
    let broke = |error: std::io::Error| format!("GET {path}: the connection broke off: {error}");
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nuser-agent: hafen\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(broke)?;
    let mut said = Vec::new();
    // Whoever keeps the connection open has said enough after the head.
    let mut buffer = [0_u8; 2048];
    while said.len() < 4096 && (status(&said).is_none_or(|status| status >= 400) || said.is_empty()) {
        let count = stream.read(&mut buffer).await.map_err(broke)?;
        if count == 0 {
            break;
        }
        said.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    judge(path, &said)
}

fn status(said: &[u8]) -> Option<u16> {
    let line = said.split(|byte| *byte == b'\n').next().filter(|line| line.len() < said.len())?;
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

fn judge(path: &str, said: &[u8]) -> Result<(), String> {
    match status(said) {
        Some(200..=399) => Ok(()),
        _ if said.is_empty() => Err(format!("GET {path}: the connection ended without an answer")),
        _ => {
            let text = String::from_utf8_lossy(said);
            let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
            let first = head.lines().next().unwrap_or_default().trim();
            let body: String = body.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
            Err(format!("GET {path} answered {first:?}: {}", body.trim()))
        }
    }
}

/// Reads what `look` says.
pub(super) fn looked(app: &str, said: &str) -> Looked {
    let mut looked = Looked::default();
    for block in said.split("\n\n") {
        let mut process = LookedProcess::default();
        let (mut result, mut code) = ("", "");
        for line in block.lines() {
            if let Some(number) = line.strip_prefix("release ") {
                looked.releases.extend(number.parse::<i64>().ok());
            }
            let Some((name, value)) = line.split_once('=') else { continue };
            match name {
                "Id" => {
                    let id =
                        value.strip_prefix(&format!("app-{app}.")).and_then(|id| id.strip_suffix(".service"));
                    id.unwrap_or_default().clone_into(&mut process.id);
                }
                "ActiveState" => value.clone_into(&mut process.state),
                "NRestarts" => process.restarts = value.parse().unwrap_or(0),
                "Result" => result = value,
                "ExecMainStatus" => code = value,
                _ => {}
            }
        }
        if !process.id.is_empty() {
            if process.restarts > 0 || process.state == "failed" {
                process.ended = format!("{result}, status {code}");
            }
            looked.processes.push(process);
        }
    }
    looked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_says_is_read() {
        let said = "release 3\nrelease 4\n\nId=app-shop.d7-0.service\nActiveState=active\nSubState=running\nNRestarts=0\nResult=success\n\
                    ExecMainStatus=0\n\nId=app-shop.d7-1.service\nNRestarts=2\nActiveState=activating\nResult=exit-code\nExecMainStatus=3\n";
        let looked = looked("shop", said);
        assert_eq!(looked.releases, [3, 4]);
        assert_eq!(looked.processes[0].id, "d7-0");
        assert_eq!((looked.processes[0].state.as_str(), looked.processes[0].ended.as_str()), ("active", ""));
        assert_eq!(
            (looked.processes[1].restarts, looked.processes[1].ended.as_str()),
            (2, "exit-code, status 3")
        );
        assert_eq!(super::looked("shop", ""), Looked::default());
    }

    #[test]
    fn answers_of_probes() {
        for good in ["HTTP/1.1 200 OK\r\n\r\nok", "HTTP/1.0 302 Found\r\n", "HTTP/1.1 204\r\n"] {
            assert_eq!(judge("/", good.as_bytes()), Ok(()), "{good}");
        }
        let told =
            judge("/healthz", b"HTTP/1.1 503 Service Unavailable\r\nx: y\r\n\r\nno\ndatabase").unwrap_err();
        assert_eq!(told, "GET /healthz answered \"HTTP/1.1 503 Service Unavailable\": no database");
        for bad in ["", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 abc\r\n", "HTTP/1.1 100 Continue\r\n"] {
            assert!(judge("/", bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
