//! Where each request on a connection begins and ends, by the strict rules of RFC 9112.
//!
//! Actix takes a bare LF for the end of a line, and answers a head that it cannot read with an empty 400. A proxy that
//! reads lines differently would see other requests than the broker. So a head is checked before actix sees it.
//! Invariant: bytes that are not part of exactly one request are never passed on, and what this module accepts, actix
//! reads the same way.

use actix_web::http::{Method, Uri};

use crate::http::error::Code;

/// Longest head, in bytes.
const HEAD_MAX: usize = 16 * 1024;
/// Most fields in a head. Actix reads no more.
const FIELDS_MAX: usize = 96;
/// Longest line with the size of a chunk, in bytes, without its end.
const SIZE_MAX: usize = 16;

/// Why the rest of a connection is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The head of a request. The code is the answer.
    Head(Code),
    /// A body. Its request is answered already, or will be when the body ends early.
    Body,
}

/// Position within the requests of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Head,
    /// A body, or the data of a chunk, of which this many bytes are missing.
    Data {
        left: u64,
        chunked: bool,
    },
    /// The line end after the data of a chunk.
    DataEnd,
    /// The line with the size of a chunk.
    Size,
    /// The empty line after the last chunk.
    End,
}

impl Framing {
    /// Number of bytes at the start of `input` that can be passed on; 0 when more are needed. Moves past them.
    pub(super) fn advance(&mut self, input: &[u8]) -> Result<usize, Refused> {
        match *self {
            Self::Head => {
                let Some((length, next)) = head(input).map_err(Refused::Head)? else { return Ok(0) };
                *self = next;
                Ok(length)
            }
            Self::Data { left, chunked } => {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let left = left.saturating_sub(length as u64);
                *self = match (left, chunked) {
                    (0, false) => Self::Head,
                    (0, true) => Self::DataEnd,
                    _ => Self::Data { left, chunked },
                };
                Ok(length)
            }
            Self::DataEnd => self.line_end(input, Self::Size),
            Self::Size => self.size(input),
            Self::End => self.line_end(input, Self::Head),
        }
    }

    fn line_end(&mut self, input: &[u8], next: Self) -> Result<usize, Refused> {
        if input.starts_with(b"\r\n") {
            *self = next;
            return Ok(2);
        }
        if b"\r\n".starts_with(input) { Ok(0) } else { Err(Refused::Body) }
    }

    /// Reads the size of a chunk. Extensions and trailers are refused: no client needs them, and parsers differ.
    fn size(&mut self, input: &[u8]) -> Result<usize, Refused> {
        let digits = input.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (text, rest) = input.split_at(digits);
        if digits > SIZE_MAX || (digits == 0 && !rest.is_empty()) {
            return Err(Refused::Body);
        }
        let text = std::str::from_utf8(text).map_err(|_| Refused::Body)?;
        let next = match u64::from_str_radix(text, 16) {
            Ok(0) => Self::End,
            Ok(left) => Self::Data { left, chunked: true },
            Err(_) => return Ok(0),
        };
        Ok(match self.line_end(rest, next)? {
            0 => 0,
            end => digits + end,
        })
    }
}

/// Checks a head. Returns its length and what follows it; `None` when it is incomplete.
fn head(input: &[u8]) -> Result<Option<(usize, Framing)>, Code> {
    let mut lines = Lines { rest: input };
    let Some(line) = lines.next()? else {
        return if input.len() >= HEAD_MAX { Err(Code::UriTooLong) } else { Ok(None) };
    };
    let mut head = Head::parse(line)?;
    while let Some(line) = lines.next()? {
        if input.len().saturating_sub(lines.rest.len()) > HEAD_MAX {
            break;
        }
        if line.is_empty() {
            return Ok(Some((input.len().saturating_sub(lines.rest.len()), head.body()?)));
        }
        head.field(line)?;
    }
    if input.len() >= HEAD_MAX { Err(Code::HeadTooLarge) } else { Ok(None) }
}

/// The complete lines of a text, without their ends.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<Option<&'a [u8]>, Code> {
        let Some(at) = self.rest.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let (line, rest) = self.rest.split_at(at);
        self.rest = rest.get(1..).unwrap_or_default();
        line.strip_suffix(b"\r").map(Some).ok_or(Code::InvalidRequest)
    }
}

/// The parts of a head that decide where its request ends.
struct Head {
    is_post: bool,
    is_http_1_1: bool,
    fields: usize,
    hosts: usize,
    length: Option<u64>,
    is_chunked: bool,
}

impl Head {
    fn parse(line: &[u8]) -> Result<Self, Code> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Code::InvalidRequest);
        };
        let is_http_1_1 = version == b"HTTP/1.1";
        let is_known = is_http_1_1 || version == b"HTTP/1.0";
        let is_target = target.iter().all(|byte| *byte > b' ' && *byte != 0x7f) && Uri::try_from(target).is_ok();
        // CONNECT asks for a tunnel: what follows it would not be a request.
        let method = Method::from_bytes(method).ok().filter(|method| *method != Method::CONNECT);
        match method {
            Some(method) if is_known && is_target => Ok(Self {
                is_post: method == Method::POST,
                is_http_1_1,
                fields: 0,
                hosts: 0,
                length: None,
                is_chunked: false,
            }),
            _ => Err(Code::InvalidRequest),
        }
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Code> {
        self.fields += 1;
        if self.fields > FIELDS_MAX {
            return Err(Code::HeadTooLarge);
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Code::InvalidRequest)?;
        let (name, value) = line.split_at(colon);
        let value = trimmed(value.get(1..).unwrap_or_default());
        let is_value = value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
        // A line that begins with white space continues the one before in the eyes of some parsers: that is no name.
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) || !is_value {
            return Err(Code::InvalidRequest);
        }
        let is_right = match name {
            name if name.eq_ignore_ascii_case(b"host") => {
                self.hosts += 1;
                self.hosts == 1
            }
            name if name.eq_ignore_ascii_case(b"content-length") => {
                let is_first = self.length.is_none();
                self.length = number(value);
                is_first && self.length.is_some()
            }
            name if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let is_first = !self.is_chunked;
                self.is_chunked = true;
                is_first && self.is_http_1_1 && value.eq_ignore_ascii_case(b"chunked")
            }
            // Actix would take everything that follows for the request's body.
            name if name.eq_ignore_ascii_case(b"upgrade") => !value.eq_ignore_ascii_case(b"websocket"),
            _ => true,
        };
        is_right.then_some(()).ok_or(Code::InvalidRequest)
    }

    /// What follows the head.
    fn body(&self) -> Result<Framing, Code> {
        let has_host = self.hosts == 1 || !self.is_http_1_1;
        let has_end = self.is_http_1_1 || !self.is_post || self.length.is_some();
        match (self.length, self.is_chunked) {
            (Some(_), true) => Err(Code::InvalidRequest),
            _ if !has_host || !has_end => Err(Code::InvalidRequest),
            (None, true) => Ok(Framing::Size),
            (None | Some(0), false) => Ok(Framing::Head),
            (Some(left), false) => Ok(Framing::Data { left, chunked: false }),
        }
    }
}

/// Removes the white space that may stand around a field's value: spaces and tabs. `trim_ascii` would hide a CR or a
/// form feed, which actix refuses.
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Parses decimal digits, without a sign.
fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// True for a character of a field's name.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(lines: &[&str]) -> Vec<u8> {
        format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes()
    }

    /// What follows a head of HTTP/1.1 with these fields.
    fn after(fields: &[&str]) -> Result<Framing, Code> {
        let input = text(&[&["POST /v1/profiles HTTP/1.1", "host: x"], fields].concat());
        head(&input).map(|read| {
            let (length, next) = read.expect("the head is complete");
            assert_eq!(length, input.len());
            next
        })
    }

    #[test]
    fn a_head_tells_what_follows_it() {
        let data = |left| Framing::Data { left, chunked: false };
        for (fields, expected) in [
            (&[][..], Framing::Head),
            (&["content-length: 0"], Framing::Head),
            (&["Content-Length:12"], data(12)),
            (&["content-length: \t 12 "], data(12)),
            (&["content-length: 18446744073709551615"], data(u64::MAX)),
            (&["transfer-encoding: chunked"], Framing::Size),
            (&["Transfer-Encoding: Chunked"], Framing::Size),
            (&["upgrade: h2c", "x-empty:", "x-bytes: \u{e9}"], Framing::Head),
        ] {
            assert_eq!(after(fields), Ok(expected), "{fields:?}");
        }
    }

    #[test]
    fn a_head_that_parsers_read_differently_is_refused() {
        for fields in [
            &["content-length: 12", "transfer-encoding: chunked"][..],
            &["content-length: 12", "content-length: 12"],
            &["content-length: 12, 12"],
            &["content-length: +12"],
            &["content-length: 1 2"],
            &["content-length: 0x10"],
            &["content-length: 18446744073709551616"],
            &["content-length:"],
            &["content-length : 12"],
            &["transfer-encoding: identity"],
            &["transfer-encoding: gzip, chunked"],
            &["transfer-encoding: chunked", "transfer-encoding: chunked"],
            &["transfer-encoding: chunked;q=1"],
            &["transfer-encoding: \x0bchunked"],
            &["transfer-encoding:\n chunked"],
            &["x: a\ntransfer-encoding: chunked"],
            &["x: a\rtransfer-encoding: chunked"],
            &["x: a", " transfer-encoding: chunked"],
            &["x: a", "\ttransfer-encoding: chunked"],
            &["x: a\0"],
            &["x: a\x7f"],
            &["x: a\r"],
            &["x:\ra"],
            &["x: \x0ca"],
            &["x: a\x0c"],
            &["x:\x0c"],
            &["content-length: \x0c2"],
            &["content-length: 2\x0c"],
            &["content-length: 2\r"],
            &["transfer-encoding: \x0cchunked"],
            &["transfer-encoding: chunked\r"],
            &[": a"],
            &["a"],
            &["a b: c"],
            &["a\u{e9}: c"],
            &["host: y"],
            &["upgrade: WebSocket"],
        ] {
            assert_eq!(after(fields), Err(Code::InvalidRequest), "{fields:?}");
        }
        for line in [
            "",
            "GET",
            "GET /",
            "GET / HTTP/1.1 ",
            "GET  / HTTP/1.1",
            "GET / HTTP/2.0",
            "GET / http/1.1",
            "GET /\t HTTP/1.1",
            "GET /<> HTTP/1.1",
            "G\x01T / HTTP/1.1",
            "CONNECT x:1 HTTP/1.1",
            "PRI * HTTP/2.0",
            "\x16\x03\x01",
        ] {
            assert_eq!(head(&text(&[line, "host: x"])), Err(Code::InvalidRequest), "{line:?}");
        }
        assert_eq!(head(b"GET / HTTP/1.1\nhost: x\n\n"), Err(Code::InvalidRequest));
        assert_eq!(head(b"\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n"), Err(Code::InvalidRequest));
        assert_eq!(head(&text(&["GET / HTTP/1.1"])), Err(Code::InvalidRequest), "no host");
        assert_eq!(head(&text(&["POST / HTTP/1.0"])), Err(Code::InvalidRequest), "a body without an end");
        assert_eq!(head(&text(&["POST / HTTP/1.0", "transfer-encoding: chunked"])), Err(Code::InvalidRequest));
        assert!(head(&text(&["GET / HTTP/1.0"])).is_ok_and(|read| read.is_some()));
    }

    #[test]
    fn a_head_has_a_size() {
        let target = |length: usize| text(&[&format!("GET /{} HTTP/1.1", "a".repeat(length)), "host: x"]);
        let field = |length: usize| text(&["GET / HTTP/1.1", "host: x", &format!("x: {}", "a".repeat(length))]);
        let many: Vec<String> = (0..100).map(|at| format!("x-{at}: a")).collect();
        let many =
            text(&[&["GET / HTTP/1.1"], many.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat());
        let around = field(0).len();
        assert!(head(&field(HEAD_MAX - around)).is_ok_and(|read| read.is_some()));
        assert_eq!(head(&field(HEAD_MAX - around + 1)), Err(Code::HeadTooLarge));
        assert_eq!(head(&field(100_000)), Err(Code::HeadTooLarge));
        assert_eq!(head(&many), Err(Code::HeadTooLarge));
        assert_eq!(head(&target(100_000)[..HEAD_MAX]), Err(Code::UriTooLong));
        assert_eq!(head(&target(100_000)[..HEAD_MAX - 1]), Ok(None));
    }

    /// The lengths of the requests in `input`, and what is left of it.
    fn split(mut input: &[u8]) -> Result<(Vec<usize>, usize), Refused> {
        let (mut framing, mut lengths, mut length) = (Framing::Head, Vec::new(), 0);
        loop {
            let passed = framing.advance(input)?;
            if passed == 0 {
                return Ok((lengths, input.len()));
            }
            (input, length) = (&input[passed..], length + passed);
            if framing == Framing::Head {
                lengths.push(length);
                length = 0;
            }
        }
    }

    #[test]
    fn requests_are_told_apart() {
        let get = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let counted = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 27\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let chunked = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n00\r\n\r\n";
        let all = [get, counted, chunked, get, "GET"].concat();
        let lengths = vec![get.len(), counted.len(), chunked.len(), get.len()];
        assert_eq!(split(all.as_bytes()), Ok((lengths, 3)));
        for chunks in [
            "3\nabc\r\n",
            "3\r\nabc\n",
            "3\r\nabcd",
            "3;x=y\r\nabc",
            "3 \r\nabc",
            "-3\r\nabc",
            "0x3\r\nabc",
            "\r\n",
            "10000000000000000\r\n",
            "0\r\nx: y\r\n\r\n",
            "0\n\n",
        ] {
            let head = chunked.split_once("3\r\n").unwrap().0;
            assert_eq!(split(format!("{head}{chunks}").as_bytes()), Err(Refused::Body), "{chunks:?}");
        }
    }

    proptest! {
        /// However the bytes arrive, the same ones are passed on.
        #[test]
        fn pieces_are_read_like_the_whole(cut in 0_usize..200, garbage in "[ -~\r\n]{0,24}") {
            let whole = format!(
                "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n\
                 POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc{garbage}"
            );
            let (whole, mut framing) = (whole.as_bytes(), Framing::Head);
            let mut passed = 0;
            let mut result = Ok(());
            for end in [cut.min(whole.len()), whole.len()] {
                while result.is_ok() {
                    match framing.advance(&whole[passed..end]) {
                        Ok(0) => break,
                        Ok(length) => passed += length,
                        Err(refused) => result = Err(refused),
                    }
                }
            }
            match split(whole) {
                Ok((_, left)) => prop_assert_eq!((passed, result), (whole.len() - left, Ok(()))),
                Err(refused) => prop_assert_eq!(result, Err(refused)),
            }
        }
    }
}
