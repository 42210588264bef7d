//! Chunked bodies (RFC 9112, section 7.1), read strictly: what two readers could understand differently is refused.

use bytes::{Buf as _, BytesMut};

use crate::wire::Broken;

/// A size line with its extensions; nobody sends any.
const MAX_LINE: usize = 256;
/// All trailer fields together. They are read over.
const MAX_TRAILERS: usize = 8 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailers(usize),
    Over,
}

#[derive(Debug)]
pub struct Chunked(State);

/// What stands at the beginning of the buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes of the body.
    Data(usize),
    /// Nothing whole yet.
    More,
    End,
}

impl Chunked {
    pub const fn new() -> Self {
        Self(State::Size)
    }

    pub const fn is_over(&self) -> bool {
        matches!(self.0, State::Over)
    }

    /// Reads framing off the buffer, up to data.
    pub fn step(&mut self, buffer: &mut BytesMut) -> Result<Step, Broken> {
        loop {
            match self.0 {
                State::Size => {
                    let Some(line) = line(buffer, MAX_LINE, "a chunk's size line")? else {
                        return Ok(Step::More);
                    };
                    let size = size(buffer.get(..line).unwrap_or_default())?;
                    buffer.advance(line + 2);
                    self.0 = if size == 0 { State::Trailers(0) } else { State::Data(size) };
                }
                State::Data(left) => {
                    if buffer.is_empty() {
                        return Ok(Step::More);
                    }
                    let there = buffer.len();
                    return Ok(Step::Data(usize::try_from(left).map_or(there, |left| left.min(there))));
                }
                State::DataEnd => match buffer.get(..2) {
                    None if buffer.first().is_some_and(|byte| *byte != b'\r') => return Err(END),
                    None => return Ok(Step::More),
                    Some(b"\r\n") => {
                        buffer.advance(2);
                        self.0 = State::Size;
                    }
                    Some(_) => return Err(END),
                },
                State::Trailers(before) => {
                    let Some(line) = line(buffer, MAX_TRAILERS - before, "the trailers")? else {
                        return Ok(Step::More);
                    };
                    buffer.advance(line + 2);
                    self.0 = if line == 0 { State::Over } else { State::Trailers(before + line) };
                }
                State::Over => return Ok(Step::End),
            }
        }
    }

    /// Takes off data that was there.
    pub fn took(&mut self, count: usize) {
        if let State::Data(left) = self.0 {
            let left = left.saturating_sub(count as u64);
            self.0 = if left == 0 { State::DataEnd } else { State::Data(left) };
        }
    }
}

const END: Broken = Broken::Bad("a chunk does not end where its size says");

/// The length of the line at the beginning, without its end; none while it is not whole.
fn line(buffer: &BytesMut, most: usize, what: &'static str) -> Result<Option<usize>, Broken> {
    let seen = buffer.get(..buffer.len().min(most + 2)).unwrap_or_default();
    match seen.iter().position(|byte| *byte == b'\n') {
        None if buffer.len() > most + 1 => Err(Broken::Bad(match what {
            "the trailers" => "the trailers are too long",
            _ => "a chunk's size line is too long",
        })),
        None => Ok(None),
        Some(at) => {
            let end = at.checked_sub(1).filter(|end| seen.get(*end) == Some(&b'\r'));
            let end = end.ok_or(Broken::Bad("a line of a chunked body ends with LF alone"))?;
            if seen.get(..end).unwrap_or_default().contains(&b'\r') {
                return Err(Broken::Bad("a line of a chunked body holds a bare CR"));
            }
            Ok(Some(end))
        }
    }
}

fn size(line: &[u8]) -> Result<u64, Broken> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (number, rest) = line.split_at_checked(digits).unwrap_or((line, &[]));
    if number.is_empty() || number.len() > 16 {
        return Err(Broken::Bad("a chunk's size is no hexadecimal number"));
    }
    // Extensions are read over; spaces before them are not (RFC 9112 calls them bad, and readers differ).
    if !(rest.is_empty() || rest.first() == Some(&b';')) {
        return Err(Broken::Bad("a chunk's size is no hexadecimal number"));
    }
    let text = std::str::from_utf8(number).unwrap_or_default();
    u64::from_str_radix(text, 16)
        .ok()
        .filter(|size| *size < 1 << 62)
        .ok_or(Broken::Bad("a chunk's size is no hexadecimal number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<(Vec<u8>, usize), String> {
        let (mut chunked, mut buffer, mut body) = (Chunked::new(), BytesMut::from(text), Vec::new());
        loop {
            match chunked.step(&mut buffer).map_err(|error| error.to_string())? {
                Step::Data(count) => {
                    body.extend_from_slice(&buffer.split_to(count));
                    chunked.took(count);
                }
                Step::More => return Err("more".into()),
                Step::End => return Ok((body, buffer.len())),
            }
        }
    }

    #[test]
    fn bodies() {
        assert_eq!(read(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET"), Ok((b"hello world".to_vec(), 3)));
        assert_eq!(read(b"A;x=y\r\n0123456789\r\n00\r\nTrailer: x\r\n\r\n"), Ok((b"0123456789".to_vec(), 0)));
        for (bad, why) in [
            (&b"5\nhello\r\n0\r\n\r\n"[..], "LF alone"),
            (b"5 \r\nhello\r\n0\r\n\r\n", "hexadecimal"),
            (b"+5\r\nhello\r\n0\r\n\r\n", "hexadecimal"),
            (b"0x5\r\nhello\r\n0\r\n\r\n", "hexadecimal"),
            (b"-1\r\nhello\r\n0\r\n\r\n", "hexadecimal"),
            (b"\r\nhello\r\n0\r\n\r\n", "hexadecimal"),
            (b"fffffffffffffffff\r\nx", "hexadecimal"),
            (b"ffffffffffffffff\r\nx", "hexadecimal"),
            (b"5\r\nhelloX\r\n0\r\n\r\n", "does not end"),
            (b"5\r\nhello\n\n0\r\n\r\n", "does not end"),
            (b"3\r\nhello\r\n0\r\n\r\n", "does not end"),
            (b"5;a\rb\r\nhello\r\n0\r\n\r\n", "bare CR"),
            (b"0\r\nX: y\n\r\n", "LF alone"),
            (b"5\r\nhel", "more"),
            (b"5\r\nhello\r\n0\r\n", "more"),
        ] {
            let got = read(bad);
            assert!(got.as_ref().is_err_and(|error| error.contains(why)), "{bad:?}: {got:?}");
        }
        let long = [b"1;".as_slice(), &[b'x'; 400], b"\r\nx\r\n0\r\n\r\n"].concat();
        assert!(read(&long).is_err_and(|error| error.contains("too long")));
        let trailers = [b"0\r\n".as_slice(), &b"X: y\r\n".repeat(3000), b"\r\n"].concat();
        assert!(read(&trailers).is_err_and(|error| error.contains("too long")));
    }

    #[test]
    fn in_single_bytes_as_in_one() {
        let text = b"5;ext\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\n\r\n";
        let (mut chunked, mut buffer, mut body) = (Chunked::new(), BytesMut::new(), Vec::new());
        for byte in text {
            buffer.extend_from_slice(&[*byte]);
            while let Step::Data(count) = chunked.step(&mut buffer).unwrap() {
                body.extend_from_slice(&buffer.split_to(count));
                chunked.took(count);
            }
        }
        assert!(chunked.is_over() && buffer.is_empty());
        assert_eq!(body, b"hello!");
    }
}
