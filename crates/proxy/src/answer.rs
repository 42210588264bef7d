//! Heads of answers: an endpoint's, as they go on, and our own.

use std::time::{Duration, UNIX_EPOCH};

use bytes::BytesMut;
use hafen_base::Clock;

use crate::chunked::Chunked;
use crate::head::{MAX_FIELDS, goes_on};
use crate::wire::{Body, Broken};

/// Largest head of an answer.
pub const MAX_HEAD: usize = 64 * 1024;

/// How an answer's body goes on to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    None,
    Known(u64),
    Unknown,
}

/// An endpoint's answer, while its head lies in a buffer.
pub struct Answer<'a> {
    pub status: u16,
    pub fields: &'a [httparse::Header<'a>],
    pub length: Length,
    /// What the route adds.
    pub hsts: u32,
    pub has_date: bool,
    /// What Connection names is of that hop only.
    named: Vec<&'a [u8]>,
}

impl Answer<'_> {
    /// Fields that are the client's too.
    pub fn onward(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let switching = self.status == 101;
        self.fields
            .iter()
            .filter(move |field| {
                let name = field.name;
                (goes_on(name, switching) || name.eq_ignore_ascii_case("x-request-id") || name.contains('_'))
                    && !self.named.iter().any(|other| other.eq_ignore_ascii_case(name.as_bytes()))
                    && !(self.hsts > 0 && name.eq_ignore_ascii_case("strict-transport-security"))
            })
            .map(|field| (field.name, field.value))
    }
}

/// What a head says, and how long it is.
pub struct Parsed {
    pub size: usize,
    pub status: u16,
    pub body: Body,
    pub length: Length,
    pub keep_alive: bool,
}

/// Reads the head at the beginning of the buffer; none while it is not whole. `with` is handed it as it stands there.
pub fn parse<T>(
    buffer: &[u8],
    head_only: bool,
    hsts: u32,
    with: impl FnOnce(&Answer<'_>) -> T,
) -> Result<Option<(Parsed, T)>, Broken> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let size = match response.parse(buffer) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) if buffer.len() > MAX_HEAD => {
            return Err(Broken::Bad("the head of the answer is too large"));
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Broken::Bad("the answer is no HTTP")),
    };
    let status = response.code.unwrap_or(0);
    if !(100..=599).contains(&status) {
        return Err(Broken::Bad("the answer has no status"));
    }
    let (mut length, mut encoding, mut has_date) = (None, None, false);
    let mut keep_alive = response.version == Some(1);
    let mut named = Vec::new();
    for field in &*response.headers {
        if field.name.eq_ignore_ascii_case("content-length") {
            let digits = std::str::from_utf8(field.value).ok().filter(|text| {
                (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
            });
            let number = digits.and_then(|digits| digits.parse::<u64>().ok());
            let number = number.ok_or(Broken::Bad("the answer's Content-Length is no number"))?;
            if length.replace(number).is_some_and(|before| before != number) {
                return Err(Broken::Bad("the answer has two Content-Lengths"));
            }
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            if encoding.replace(field.value).is_some() {
                return Err(Broken::Bad("the answer has two Transfer-Encodings"));
            }
        } else if field.name.eq_ignore_ascii_case("connection") {
            for token in field.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if token.eq_ignore_ascii_case(b"close") {
                    keep_alive = false;
                } else if !token.is_empty() {
                    named.push(token);
                }
            }
        } else if field.name.eq_ignore_ascii_case("date") {
            has_date = true;
        }
    }
    let none = head_only || status < 200 || status == 204 || status == 304;
    let (body, onward) = match (none, encoding, length) {
        (true, _, length) => {
            // The length of what is not sent is still told (RFC 9110, section 8.6).
            let told = length.filter(|_| head_only && status >= 200 && status != 204 && encoding.is_none());
            (Body::Length(0), told.map_or(Length::None, Length::Known))
        }
        (false, Some(_), Some(_)) => {
            return Err(Broken::Bad(
                "the answer's Content-Length and Transfer-Encoding contradict each other",
            ));
        }
        (false, Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => {
            (Body::Chunked(Chunked::new()), Length::Unknown)
        }
        (false, Some(_), None) => {
            return Err(Broken::Bad("the answer has another Transfer-Encoding than chunked"));
        }
        (false, None, Some(length)) => (Body::Length(length), Length::Known(length)),
        (false, None, None) => {
            keep_alive = false;
            (Body::Close, Length::Unknown)
        }
    };
    let answer = Answer { status, fields: response.headers, length: onward, hsts, has_date, named };
    let out = with(&answer);
    Ok(Some((Parsed { size, status, body, length: onward, keep_alive }, out)))
}

/// The words of a status line; nobody reads them.
pub fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("")
}

/// Now, as a Date field has it.
pub fn date(clock: &dyn Clock) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(clock.now().millis()))
}

/// Writes `name: value` of an HTTP/1.1 head.
pub fn field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    for piece in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, head_only: bool) -> Result<(u16, Length, bool), String> {
        match parse(text.as_bytes(), head_only, 0, |_| ()) {
            Ok(Some((parsed, ()))) => Ok((parsed.status, parsed.length, parsed.keep_alive)),
            Ok(None) => Err("more".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn framings() {
        let ok = |fields: &str| read(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), false);
        assert_eq!(ok("Content-Length: 5\r\n"), Ok((200, Length::Known(5), true)));
        assert_eq!(ok("Transfer-Encoding: chunked\r\n"), Ok((200, Length::Unknown, true)));
        assert_eq!(ok(""), Ok((200, Length::Unknown, false)));
        assert_eq!(ok("Content-Length: 5\r\nConnection: close\r\n"), Ok((200, Length::Known(5), false)));
        assert_eq!(read("HTTP/1.1 204 No\r\n\r\n", false), Ok((204, Length::None, true)));
        assert_eq!(
            read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true),
            Ok((200, Length::Known(5), true))
        );
        assert_eq!(
            read("HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n", false),
            Ok((304, Length::None, true))
        );
        for bad in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert!(ok(bad).is_err(), "{bad}");
        }
        assert!(read("hello\r\n\r\n", false).is_err());
        assert_eq!(read("HTTP/1.1 200 OK\r\n", false), Err("more".into()));
    }
}
