//! Real clients over both protocols: what comes back, and how it streams.

use std::time::Duration;

use hafen_proxy::certificates;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::support::{HOST, Rig, Upstream, answers, echoes, folder, plan, until};

#[tokio::test]
async fn curl_over_every_protocol() {
    let upstream = Upstream::new(answers("hello")).await;
    let rig = Rig::new(&[upstream.at]).await;
    for (scheme, arguments, version) in [
        ("http", &["--http1.1"][..], "1.1"),
        ("http", &["--http1.0"], "1.1"),
        ("https", &["--http1.1"], "1.1"),
        ("https", &["--http2", "--tlsv1.3"], "2"),
        ("https", &["--http2", "--tls-max", "1.2"], "2"),
    ] {
        let all = [arguments, &["-w", " %{http_version} %{http_code}"]].concat();
        let (said, output) = rig.curl(scheme, "/", &all).await;
        assert_eq!(said, format!("hello {version} 200"), "{arguments:?} {output:?}");
    }
    for old in [["--tls-max", "1.1"], ["--tls-max", "1.0"]] {
        let (_, output) = rig.curl("https", "/", &old).await;
        assert!(!output.status.success(), "{old:?}");
    }
    assert!(
        upstream.connections.load(std::sync::atomic::Ordering::SeqCst) <= 2,
        "connections are used again"
    );
}

#[tokio::test]
async fn large_bodies_go_both_ways_and_back_whole() {
    let upstream = streaming_echo().await;
    let rig = Rig::new(&[upstream]).await;
    let file = folder().join(format!("body-{}", std::process::id()));
    let body: Vec<u8> = (0..20_000_000_u32).map(|n| n.to_le_bytes()[(n % 3) as usize]).collect();
    std::fs::write(&file, &body).unwrap();
    for (scheme, protocol, fields) in [
        ("http", "--http1.1", "Expect:"),
        ("http", "--http1.1", "Expect: 100-continue"),
        ("https", "--http1.1", "Transfer-Encoding: chunked"),
        ("https", "--http2", "Expect:"),
    ] {
        let out = folder().join(format!("back-{}-{scheme}{}", std::process::id(), fields.len()));
        let data = format!("@{}", file.display());
        let arguments = [
            protocol,
            "-H",
            fields,
            "--data-binary",
            &data,
            "-o",
            out.to_str().unwrap(),
            "-w",
            "%{http_code}",
        ];
        let (said, output) = rig.curl(scheme, "/echo", &arguments).await;
        assert_eq!(said, "200", "{scheme} {protocol} {fields} {output:?}");
        assert!(std::fs::read(&out).unwrap() == body, "{scheme} {protocol} {fields}");
        std::fs::remove_file(out).unwrap();
    }
    std::fs::remove_file(file).unwrap();
    until("all is over", || rig.in_flight() == 0).await;
}

/// Answers with a chunked body that is the request's, while it still comes.
async fn streaming_echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let head = String::from_utf8_lossy(&head).to_lowercase();
                let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
                let (mut read, mut write) = stream.into_split();
                if let Some(length) = length.and_then(|length| length.parse::<u64>().ok()) {
                    let head =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
                    write.write_all(head.as_bytes()).await.unwrap();
                    let _gone = tokio::io::copy(&mut read.take(length), &mut write).await;
                } else {
                    // Chunks go back as they came.
                    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
                    write.write_all(head.as_bytes()).await.unwrap();
                    let mut last = Vec::new();
                    let mut buffer = vec![0; 65_536];
                    while let Ok(count @ 1..) = read.read(&mut buffer).await {
                        if write.write_all(&buffer[..count]).await.is_err() {
                            return;
                        }
                        last.extend_from_slice(&buffer[..count]);
                        let keep = last.len().saturating_sub(5);
                        last.drain(..keep);
                        if last == b"0\r\n\r\n" {
                            return;
                        }
                    }
                }
            });
        }
    });
    at
}

#[tokio::test]
async fn a_stream_is_not_gathered() {
    // Sends a piece when it is told to, and only then the next.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (go, mut told) = tokio::sync::mpsc::channel::<()>(1);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        let _head = stream.read(&mut buffer).await.unwrap();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        while told.recv().await.is_some() {
            stream.write_all(b"5\r\nevent\r\n").await.unwrap();
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
    });
    let rig = Rig::new(&[at]).await;
    let mut client = TcpStream::connect(rig.http).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n").await.unwrap();
    let mut seen = Vec::new();
    for number in 0..4 {
        while String::from_utf8_lossy(&seen).matches("event\r\n").count() < number || !seen.ends_with(b"\r\n")
        {
            let read = tokio::time::timeout(Duration::from_secs(5), client.read_buf(&mut seen)).await;
            assert!(read.is_ok_and(|count| count.unwrap() > 0), "{number}");
        }
        go.send(()).await.unwrap();
    }
    drop(go);
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn https_is_led_to_and_remembered() {
    let upstream = Upstream::new(echoes()).await;
    let rig = Rig::new(&[upstream.at]).await;
    let mut host = plan(&[("/", &[("web", 1)])]);
    (host.redirect_https, host.hsts) = (true, 300);
    rig.proxy.table().hosts_set(vec![host.clone()]);
    let (said, _) = rig.curl("http", "/a?b=c", &["-i"]).await;
    let to = format!("location: https://{HOST}:{}/a?b=c\r\n", rig.https.port());
    assert!(said.starts_with("HTTP/1.1 308") && said.contains(&to), "{said}");
    host.redirect_https = false;
    rig.proxy.table().hosts_set(vec![host]);
    let (said, _) = rig.curl("http", "/", &["-i"]).await;
    assert!(!said.contains("strict-transport-security"), "{said}");
    for protocol in ["--http1.1", "--http2"] {
        let (said, _) = rig.curl("https", "/", &["-i", protocol]).await;
        assert!(said.contains("strict-transport-security: max-age=300\r\n"), "{said}");
        assert!(said.contains("x-forwarded-proto: https") && said.contains("date: "), "{said}");
    }
}

#[tokio::test]
async fn pages_of_our_own() {
    let rig = Rig::new(&[]).await;
    for protocol in ["--http1.1", "--http2"] {
        let (said, _) = rig.curl("https", "/", &["-i", protocol]).await;
        assert!(
            said.contains(" 503") && said.contains("retry-after: 5") && said.contains("request e-"),
            "{said}"
        );
        let (said, _) = rig.curl("https", "/", &["-I", protocol]).await;
        assert!(said.contains(" 503") && !said.contains("<html"), "{said}");
    }
    let mut host = plan(&[("/only", &[("web", 1)])]);
    rig.proxy.table().hosts_set(vec![host.clone()]);
    let (said, _) = rig.curl("http", "/other", &["-i"]).await;
    assert!(said.contains(" 404") && said.contains("nothing is served at this path"), "{said}");
    host.maintenance = true;
    rig.proxy.table().hosts_set(vec![host]);
    let (said, _) = rig.curl("http", "/only", &["-i"]).await;
    assert!(said.contains(" 503") && said.contains("Wartung") && said.contains("retry-after: 60"), "{said}");
    let answer = rig.raw(b"GET / HTTP/1.0\r\nHost: nobody.localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("no such host"), "{answer}");
    // One connection, one name.
    let (said, _) = rig.curl("https", "/", &["-i", "-H", "Host: other.localhost"]).await;
    assert!(said.contains(" 404"), "{said}");
    let mut other = plan(&[("/", &[("web", 1)])]);
    other.host = "other.localhost".into();
    rig.proxy.table().hosts_change(vec![other], &[]);
    for protocol in ["--http1.1", "--http2"] {
        let (said, _) = rig.curl("https", "/", &["-i", protocol, "-H", "Host: other.localhost"]).await;
        assert!(said.contains(" 421"), "{said}");
    }
}

#[tokio::test]
async fn a_load_meets_no_error_while_everything_changes() {
    let upstream = Upstream::new(answers("hello")).await;
    let rig = Rig::new(&[upstream.at]).await;
    let url = format!("https://{HOST}:{}/", rig.https.port());
    let load = |protocol: &'static str| {
        let mut command = Command::new("h2load");
        command.args([
            "-D",
            "2",
            "-c",
            "8",
            "-m",
            "4",
            "--connect-to",
            &format!("127.0.0.1:{}", rig.https.port()),
        ]);
        if protocol == "h1" {
            command.arg("--h1");
        }
        command.arg(&url).output()
    };
    let change = async {
        for round in 0.. {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(vec![HOST.to_owned()]).unwrap();
            let shown =
                certificates::read(&params.self_signed(&key).unwrap().pem(), &key.serialize_pem()).unwrap();
            rig.proxy.certificates().set(vec![(HOST.into(), shown)]);
            let hosts = (0..round % 50).map(|n| {
                let mut host = plan(&[("/", &[("web", 1)])]);
                host.host = format!("h{n}.localhost");
                host
            });
            rig.proxy.table().hosts_set(hosts.chain([plan(&[("/", &[("web", 1)])])]).collect());
            // The same place under another name: the old one drains.
            let id = format!("e{round}");
            rig.proxy
                .table()
                .backend("p", "web")
                .set(&[crate::support::endpoint(&id, upstream.at, false)], None);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::pin!(change);
    for protocol in ["h1", "h2"] {
        let output = tokio::select! {
            output = load(protocol) => output.expect("h2load is installed"),
            () = &mut change => unreachable!(),
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(" 0 failed, 0 errored, 0 timeout"), "{protocol}\n{said}");
        assert!(
            said.contains("status codes:") && said.contains(" 0 3xx, 0 4xx, 0 5xx"),
            "{protocol}\n{said}"
        );
    }
}
