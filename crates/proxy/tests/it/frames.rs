//! HTTP/2 frame by frame, as no library would send them: what RFC 9113 forbids ends the connection or the stream with the error
//! that it names, and reaches no endpoint.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::http2::connect_tls;
use crate::support::{Rig, Upstream, answers};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields without compression (RFC 7541, section 6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [&[0][..], &text(name), &text(value)].concat()).collect()
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "shop.localhost"), (":path", "/")];

fn with(more: &[(&str, &str)]) -> Vec<u8> {
    block(&[&GET, more].concat())
}

fn without(name: &str) -> Vec<u8> {
    block(&GET.into_iter().filter(|(other, _)| *other != name).collect::<Vec<_>>())
}

fn get(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, block)
}

fn post(stream: u32) -> Vec<u8> {
    let mut fields = GET;
    fields[0].1 = "POST";
    frame(HEADERS, END_HEADERS, stream, &block(&fields))
}

struct Wire(TlsStream<TcpStream>);

/// How it ended, or went on.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Seen {
    /// The connection, with this error.
    GoAway(u32),
    /// This stream, with this error.
    Reset(u32),
    /// It was answered with fields.
    Answered,
    /// It was ended without a word.
    Closed,
    Nothing,
}

impl Wire {
    async fn open(rig: &Rig) -> Self {
        let mut wire = Self(connect_tls(rig).await);
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        wire.send(&frame(SETTINGS, 0, 0, &[])).await;
        wire
    }

    /// What is sent after the end goes nowhere.
    async fn send(&mut self, bytes: &[u8]) {
        let _ended = self.0.write_all(bytes).await;
    }

    async fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }

    /// The first thing that says how it is with this stream or the connection.
    async fn seen(&mut self, stream: u32) -> Seen {
        let number = |payload: &[u8], at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        let read = async {
            loop {
                match self.next().await {
                    None => return Seen::Closed,
                    Some((GOAWAY, _, _, payload)) => return Seen::GoAway(number(&payload, 4)),
                    Some((RST_STREAM, _, at, payload)) if at == stream => {
                        return Seen::Reset(number(&payload, 0));
                    }
                    Some((HEADERS, _, at, _)) if at == stream => return Seen::Answered,
                    Some(_) => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(4), read).await.unwrap_or(Seen::Nothing)
    }
}

#[tokio::test]
async fn frames_that_cannot_be_end_what_they_are_of() {
    let upstream = Upstream::new(answers("good")).await;
    let rig = Rig::new(&[upstream.at]).await;
    let all = with(&[]);
    let mut wire = Wire::open(&rig).await;
    wire.send(&get(1, &all)).await;
    assert_eq!(wire.seen(1).await, Seen::Answered, "the ones that follow differ by what is wrong with them");
    let before = upstream.count();
    // The general error is as good as the particular one (RFC 9113, section 5.4.1): that it ends is what matters.
    let go = |error| vec![Seen::GoAway(error), Seen::GoAway(PROTOCOL_ERROR)];
    // Where the standard leaves it to the reader whether a stream or the connection ends, both are good.
    let either = |error| vec![Seen::GoAway(error), Seen::Reset(error), Seen::GoAway(PROTOCOL_ERROR)];
    let increment = |by: u32| by.to_be_bytes().to_vec();
    let setting = |id: u16, value: u32| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    let cases: Vec<(&str, Vec<u8>, Vec<Seen>)> = vec![
        ("a frame larger than was allowed", frame(DATA, 0, 1, &vec![0; 16_385]), go(FRAME_SIZE_ERROR)),
        ("DATA on stream 0", frame(DATA, 0, 0, b"x"), go(PROTOCOL_ERROR)),
        ("DATA on a stream that is not open", frame(DATA, 0, 1, b"x"), go(PROTOCOL_ERROR)),
        ("HEADERS on stream 0", get(0, &all), go(PROTOCOL_ERROR)),
        ("HEADERS on an even stream", get(2, &all), go(PROTOCOL_ERROR)),
        (
            "a stream below the last",
            [get(5, b"\x82"), get(3, &all)].concat(),
            vec![Seen::GoAway(PROTOCOL_ERROR), Seen::GoAway(STREAM_CLOSED), Seen::Reset(STREAM_CLOSED)],
        ),
        ("fields that are no fields", get(1, &[0xff; 20]), go(COMPRESSION_ERROR)),
        ("an index beyond the table", get(1, &[0xfe]), go(COMPRESSION_ERROR)),
        (
            "padding longer than the frame",
            frame(HEADERS, END_HEADERS | PADDED, 1, &[200, 0x82]),
            go(PROTOCOL_ERROR),
        ),
        (
            "another frame within fields",
            [frame(HEADERS, END_STREAM, 1, &all), frame(PING, 0, 0, &[0; 8])].concat(),
            go(PROTOCOL_ERROR),
        ),
        ("CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, &all), go(PROTOCOL_ERROR)),
        (
            "CONTINUATION of another",
            [frame(HEADERS, END_STREAM, 1, &all), frame(CONTINUATION, END_HEADERS, 3, &[])].concat(),
            go(PROTOCOL_ERROR),
        ),
        ("PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0; 5]), go(PROTOCOL_ERROR)),
        ("RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &[0; 4]), go(PROTOCOL_ERROR)),
        ("RST_STREAM of an idle stream", frame(RST_STREAM, 0, 1, &[0; 4]), go(PROTOCOL_ERROR)),
        ("RST_STREAM of a wrong length", frame(RST_STREAM, 0, 1, &[0; 3]), go(FRAME_SIZE_ERROR)),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), go(PROTOCOL_ERROR)),
        ("SETTINGS of a wrong length", frame(SETTINGS, 0, 0, &[0; 5]), go(FRAME_SIZE_ERROR)),
        ("an acknowledgement with content", frame(SETTINGS, 1, 0, &setting(3, 1)), go(FRAME_SIZE_ERROR)),
        ("a window beyond its most", frame(SETTINGS, 0, 0, &setting(4, 0x8000_0000)), go(FLOW_CONTROL_ERROR)),
        ("frames beyond their most", frame(SETTINGS, 0, 0, &setting(5, 100)), go(PROTOCOL_ERROR)),
        (
            "a client that pushes",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]),
            go(PROTOCOL_ERROR),
        ),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8]), go(PROTOCOL_ERROR)),
        ("PING of a wrong length", frame(PING, 0, 0, &[0; 7]), go(FRAME_SIZE_ERROR)),
        ("GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), go(PROTOCOL_ERROR)),
        ("an increment of 0", frame(WINDOW_UPDATE, 0, 0, &increment(0)), go(PROTOCOL_ERROR)),
        (
            "an increment of 0 on a stream",
            [post(1), frame(WINDOW_UPDATE, 0, 1, &increment(0))].concat(),
            either(PROTOCOL_ERROR),
        ),
        ("WINDOW_UPDATE of a wrong length", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), go(FRAME_SIZE_ERROR)),
        ("WINDOW_UPDATE of an idle stream", frame(WINDOW_UPDATE, 0, 1, &increment(1)), go(PROTOCOL_ERROR)),
        (
            "a window that overflows",
            frame(WINDOW_UPDATE, 0, 0, &increment(0x7fff_ffff)),
            go(FLOW_CONTROL_ERROR),
        ),
        ("fields after the end", [get(1, &all), get(1, &all)].concat(), either(STREAM_CLOSED)),
        ("DATA after the end", [get(1, &all), frame(DATA, 0, 1, b"x")].concat(), either(STREAM_CLOSED)),
        ("a pseudo field twice", get(1, &with(&[(":path", "/x")])), either(PROTOCOL_ERROR)),
        (
            "a pseudo field after others",
            get(1, &block(&[("x", "y"), GET[0], GET[1], GET[2], GET[3]])),
            either(PROTOCOL_ERROR),
        ),
        ("an unknown pseudo field", get(1, &with(&[(":x", "y")])), either(PROTOCOL_ERROR)),
        ("a pseudo field of answers", get(1, &with(&[(":status", "200")])), either(PROTOCOL_ERROR)),
        ("no :method", get(1, &without(":method")), either(PROTOCOL_ERROR)),
        ("no :path", get(1, &without(":path")), either(PROTOCOL_ERROR)),
        ("an empty :path", get(1, &block(&[GET[0], GET[1], GET[2], (":path", "")])), either(PROTOCOL_ERROR)),
        ("a field in upper case", get(1, &with(&[("X-Y", "z")])), either(PROTOCOL_ERROR)),
        ("Connection", get(1, &with(&[("connection", "close")])), either(PROTOCOL_ERROR)),
        ("Transfer-Encoding", get(1, &with(&[("transfer-encoding", "chunked")])), either(PROTOCOL_ERROR)),
        ("TE of another than trailers", get(1, &with(&[("te", "gzip")])), either(PROTOCOL_ERROR)),
        ("a line feed in a value", get(1, &with(&[("x", "a\r\ny: z")])), either(PROTOCOL_ERROR)),
    ];
    let mut wrong = Vec::new();
    for (what, bytes, wanted) in cases {
        let mut wire = Wire::open(&rig).await;
        wire.send(&bytes).await;
        let seen = wire.seen(1).await;
        if !wanted.contains(&seen) {
            wrong.push(format!("{what}: {seen:?}, not {wanted:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Those that began rightly went their way; none of what was wrong did.
    let seen = upstream.requests.lock().unwrap()[before..].to_vec();
    assert!(
        seen.iter().all(|request| !request.contains("x: ") && !request.contains("connection")),
        "{seen:?}"
    );
}

#[tokio::test]
async fn bodies_that_differ_from_their_length_are_no_requests() {
    let upstream = Upstream::new(answers("good")).await;
    let rig = Rig::new(&[upstream.at]).await;
    for (length, body) in [("1", &b"hello"[..]), ("9", b"hello")] {
        let mut wire = Wire::open(&rig).await;
        let fields = [(":method", "POST"), GET[1], GET[2], GET[3], ("content-length", length)];
        wire.send(&frame(HEADERS, END_HEADERS, 1, &block(&fields))).await;
        wire.send(&frame(DATA, END_STREAM, 1, body)).await;
        let seen = wire.seen(1).await;
        assert!(
            matches!(seen, Seen::Reset(PROTOCOL_ERROR) | Seen::GoAway(PROTOCOL_ERROR)),
            "{length}: {seen:?}"
        );
    }
    assert_eq!(upstream.count(), 0, "{:?}", upstream.requests.lock().unwrap());
}

#[tokio::test]
async fn floods_end_the_connection_or_nothing_else() {
    let upstream = Upstream::new(answers("good")).await;
    let rig = Rig::new(&[upstream.at]).await;
    let floods: [(&str, Vec<u8>, bool); 4] = [
        // Each asks for an answer; the client reads none.
        ("pings", frame(PING, 0, 0, &[0; 8]).repeat(20_000), false),
        ("settings", frame(SETTINGS, 0, 0, &[]).repeat(20_000), false),
        ("empty data", [post(1), frame(DATA, 0, 1, &[]).repeat(20_000)].concat(), true),
        // Fields without end (CVE-2024-27316).
        (
            "continuations",
            [
                frame(HEADERS, END_STREAM, 1, &with(&[])),
                frame(CONTINUATION, 0, 1, &block(&[("x", "y")])).repeat(20_000),
            ]
            .concat(),
            true,
        ),
    ];
    for (what, bytes, ends) in floods {
        let mut wire = Wire::open(&rig).await;
        let sent = tokio::time::timeout(Duration::from_secs(5), wire.send(&bytes)).await;
        if ends {
            assert!(sent.is_ok(), "{what}");
            let seen = wire.seen(1).await;
            let ended = matches!(
                seen,
                Seen::GoAway(ENHANCE_YOUR_CALM | PROTOCOL_ERROR | COMPRESSION_ERROR)
                    | Seen::Closed
                    | Seen::Reset(_)
            );
            // Fields beyond the limit may be answered, too: 431.
            assert!(ended || seen == Seen::Answered, "{what}: {seen:?}");
        }
        // Others are served meanwhile.
        let (said, _) = rig.curl("https", "/", &["--http2"]).await;
        assert_eq!(said, "good", "{what}");
    }
}
