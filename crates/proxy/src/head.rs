//! Heads of requests over HTTP/1.1 (RFC 9112), read strictly, and written anew for the endpoint.
//!
//! Whatever two readers could understand differently is refused here, so that nothing is smuggled past this one: the endpoint
//! gets a head that this module wrote, with framing that it decided.

use std::net::IpAddr;

use bytes::BytesMut;
use http::Method;

use crate::chunked::Chunked;
use crate::target;
use crate::wire::Body;

/// Why a request is refused: the status and a sentence for whoever wrote the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    pub status: u16,
    pub why: &'static str,
}

const fn bad(why: &'static str) -> Reject {
    Reject { status: 400, why }
}

/// How a request's body comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
}

impl Framing {
    pub const fn body(self) -> Body {
        match self {
            Self::None => Body::Length(0),
            Self::Length(length) => Body::Length(length),
            Self::Chunked => Body::Chunked(Chunked::new()),
        }
    }

    pub const fn has_body(self) -> bool {
        !matches!(self, Self::None | Self::Length(0))
    }
}

/// Who asks, and over what.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: IpAddr,
    /// The same, in text.
    pub text: Box<str>,
    /// Over TLS, and for this name.
    pub tls: Option<Box<str>>,
    /// Which worker serves it.
    pub worker: usize,
}

/// A request as it goes on.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what the head says, each on its own")]
pub struct Head {
    pub method: Method,
    /// In lower case, without a port.
    pub host: Box<str>,
    /// As it came, with its port.
    pub authority: Box<str>,
    /// Path and query.
    pub target: Box<str>,
    pub framing: Framing,
    /// The client's connection may be used again.
    pub keep_alive: bool,
    pub http10: bool,
    /// A WebSocket is asked for.
    pub upgrade: bool,
    /// The client waits for `100 Continue`.
    pub expect: bool,
    /// What the endpoint is sent, to the empty line.
    pub forward: BytesMut,
}

impl Head {
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or("/")
    }
}

/// Most fields that can be allowed.
pub const MAX_FIELDS: usize = 128;

/// Where the head ends (after the empty line), searching from `from`; none while it is not whole.
pub fn end(buffer: &[u8], from: usize) -> Option<usize> {
    let from = from.saturating_sub(3);
    let tail = buffer.get(from..)?;
    let mut lines = memchr::memchr_iter(b'\n', tail);
    lines.find(|at| tail.get(at.wrapping_sub(3)..=*at) == Some(b"\r\n\r\n")).map(|at| from + at + 1)
}

/// Whether a line ends with LF and no CR before it.
pub fn has_bare_end(raw: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', raw).any(|at| raw.get(at.wrapping_sub(1)) != Some(&b'\r'))
}

/// Reads a whole head, as `end` found it, with at most so many fields. `forward` is an empty buffer to use.
pub fn parse(raw: &[u8], most: usize, peer: &Peer, id: &str, forward: BytesMut) -> Result<Head, Reject> {
    if has_bare_end(raw) || memchr::memchr(0, raw).is_some() {
        return Err(bad("a line of the head ends with LF alone, or it holds NUL"));
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let fields = fields.get_mut(..most.min(MAX_FIELDS)).unwrap_or_default();
    let mut request = httparse::Request::new(fields);
    match request.parse(raw) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Reject { status: 431, why: "the request has too many header fields" });
        }
        Err(httparse::Error::Version) => {
            return Err(Reject { status: 505, why: "this HTTP version is not spoken here" });
        }
        Ok(httparse::Status::Partial) | Err(_) => return Err(bad("this is no HTTP request")),
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(bad("this is no HTTP request"));
    };
    let http10 = version == 0;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| bad("this is no method"))?;
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(Reject { status: 405, why: "this method is not answered here" });
    }
    let (named, target) = target::split(target, &method).map_err(bad)?;
    let facts = Facts::read(request.headers, http10)?;
    let authority = match (named, facts.host) {
        (Some(named), Some(host)) if !named.eq_ignore_ascii_case(host) => {
            return Err(bad("the target names another host than the Host field"));
        }
        (Some(named), _) => named,
        (None, Some(host)) => host,
        (None, None) => return Err(bad("the request names no host")),
    };
    let host = target::host(authority).ok_or(bad("the Host field holds no host name"))?;
    if facts.framing == Framing::None && facts.upgrade && method != Method::GET {
        return Err(bad("a WebSocket begins with GET"));
    }
    let upgrade = facts.upgrade && !http10 && !facts.framing.has_body();
    let mut writer = Writer::begin(forward, method.as_str(), target, authority);
    for field in &*request.headers {
        if goes_on(field.name, upgrade) && !facts.is_named(field.name) {
            writer.field(field.name.as_bytes(), field.value);
        }
    }
    writer.framing(facts.framing, &method);
    if upgrade {
        writer.field(b"connection", b"upgrade");
        writer.field(b"upgrade", b"websocket");
    }
    let forward = writer.end(peer, authority, id);
    Ok(Head {
        host: host.into(),
        authority: authority.into(),
        target: target.into(),
        framing: facts.framing,
        keep_alive: facts.keep_alive,
        http10,
        upgrade,
        expect: facts.expect,
        forward,
        method,
    })
}

/// What the fields say of the message itself.
struct Facts<'a> {
    host: Option<&'a str>,
    framing: Framing,
    keep_alive: bool,
    upgrade: bool,
    expect: bool,
    /// The value of Connection; more than one line of it is joined only if there is need.
    connection: Vec<&'a str>,
}

impl<'a> Facts<'a> {
    fn read(fields: &[httparse::Header<'a>], http10: bool) -> Result<Self, Reject> {
        let (mut host, mut length, mut encoding) = (None, None, None);
        let (mut websocket, mut expect, mut connection) = (false, false, Vec::new());
        for field in fields {
            let name = field.name;
            if name.eq_ignore_ascii_case("host") {
                if host.replace(text(field.value)?).is_some() {
                    return Err(bad("there is more than one Host field"));
                }
            } else if name.eq_ignore_ascii_case("content-length") {
                if length.replace(number(field.value)?).is_some() {
                    return Err(bad("there is more than one Content-Length"));
                }
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                if encoding.replace(text(field.value)?).is_some() {
                    return Err(bad("there is more than one Transfer-Encoding"));
                }
            } else if name.eq_ignore_ascii_case("connection") {
                connection.extend(text(field.value)?.split(',').map(str::trim));
            } else if name.eq_ignore_ascii_case("upgrade") {
                websocket |= text(field.value)?.trim().eq_ignore_ascii_case("websocket");
            } else if name.eq_ignore_ascii_case("expect") {
                if !text(field.value)?.trim().eq_ignore_ascii_case("100-continue") {
                    return Err(Reject { status: 417, why: "only 100-continue can be expected" });
                }
                expect = !http10;
            }
        }
        let framing = match (length, encoding) {
            (Some(_), Some(_)) => {
                return Err(bad("Content-Length and Transfer-Encoding contradict each other"));
            }
            (None, Some(_)) if http10 => return Err(bad("HTTP/1.0 knows no Transfer-Encoding")),
            (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunked,
            (None, Some(_)) => {
                return Err(Reject { status: 501, why: "the only Transfer-Encoding taken is chunked" });
            }
            (Some(length), None) => Framing::Length(length),
            (None, None) => Framing::None,
        };
        let says = |word: &str| connection.iter().any(|token| token.eq_ignore_ascii_case(word));
        let keep_alive = if http10 { says("keep-alive") && !says("close") } else { !says("close") };
        let upgrade = websocket && says("upgrade");
        Ok(Self { host, framing, keep_alive, upgrade, expect, connection })
    }

    /// Fields that Connection names are for this hop only.
    fn is_named(&self, name: &str) -> bool {
        !self.connection.is_empty() && self.connection.iter().any(|token| token.eq_ignore_ascii_case(name))
    }
}

fn text(value: &[u8]) -> Result<&str, Reject> {
    std::str::from_utf8(value).ok().filter(|text| text.is_ascii()).ok_or(bad("a field holds what it cannot"))
}

/// Digits and nothing else: no sign, no list, no space within.
fn number(value: &[u8]) -> Result<u64, Reject> {
    let good = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(value).ok().filter(|_| good).and_then(|text| text.parse().ok());
    number.ok_or(bad("the Content-Length is no number"))
}

/// Whether a field is the endpoint's too. Not those of this hop, not those that this hop alone may say, and none with an
/// underscore: for many an application `X_Forwarded_For` is `X-Forwarded-For`.
pub fn goes_on(name: &str, upgrade: bool) -> bool {
    let Some(first) = name.as_bytes().first() else { return false };
    let own = match first.to_ascii_lowercase() {
        b'c' => one_of(name, &["connection", "content-length"]),
        b'e' => one_of(name, &["expect"]),
        b'f' => one_of(name, &["forwarded"]),
        b'h' => one_of(name, &["host", "http2-settings"]),
        b'k' => one_of(name, &["keep-alive"]),
        b'p' => one_of(name, &["proxy", "proxy-connection", "proxy-authorization"]),
        b't' => one_of(name, &["te", "trailer", "transfer-encoding"]),
        b'u' => one_of(name, &["upgrade"]),
        b's' => !upgrade && name.len() > 14 && starts(name, "sec-websocket-"),
        b'x' => starts(name, "x-forwarded-") || one_of(name, &["x-real-ip", "x-request-id"]),
        _ => false,
    };
    !own && !name.as_bytes().contains(&b'_')
}

fn one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|other| name.eq_ignore_ascii_case(other))
}

fn starts(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Writes a head for an endpoint.
pub struct Writer(BytesMut);

impl Writer {
    pub fn begin(mut buffer: BytesMut, method: &str, target: &str, authority: &str) -> Self {
        buffer.reserve(1024);
        for piece in [method, " ", target, " HTTP/1.1\r\nhost: ", authority, "\r\n"] {
            buffer.extend_from_slice(piece.as_bytes());
        }
        Self(buffer)
    }

    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        for piece in [name, b": ", value, b"\r\n"] {
            self.0.extend_from_slice(piece);
        }
    }

    pub fn framing(&mut self, framing: Framing, method: &Method) {
        match framing {
            Framing::Chunked => self.field(b"transfer-encoding", b"chunked"),
            Framing::Length(length) => self.field(b"content-length", length.to_string().as_bytes()),
            Framing::None if [Method::POST, Method::PUT, Method::PATCH].contains(method) => {
                self.field(b"content-length", b"0");
            }
            Framing::None => {}
        }
    }

    /// Says who asked, and ends the head.
    pub fn end(mut self, peer: &Peer, authority: &str, id: &str) -> BytesMut {
        let address = &*peer.text;
        let proto = if peer.tls.is_some() { "https" } else { "http" };
        self.field(b"x-forwarded-for", address.as_bytes());
        self.field(b"x-forwarded-proto", proto.as_bytes());
        self.field(b"x-forwarded-host", authority.as_bytes());
        self.field(b"x-request-id", id.as_bytes());
        let (open, close) = if peer.address.is_ipv6() { ("\"[", "]\"") } else { ("", "") };
        for piece in
            ["forwarded: for=", open, address, close, ";proto=", proto, ";host=\"", authority, "\"\r\n\r\n"]
        {
            self.0.extend_from_slice(piece.as_bytes());
        }
        self.0
    }
}
