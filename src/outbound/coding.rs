//! Undoes content codings. Servers are asked for none, but some compress all the same.
//!
//! Invariant: no step writes more than [`MAX_ANSWER`](super::MAX_ANSWER) bytes, so a small answer cannot unfold into
//! a large one.

use std::io::Read;

use flate2::bufread::{DeflateDecoder, GzDecoder, ZlibDecoder};
use http::{HeaderMap, header};
use zeroize::Zeroizing;

use super::{Error, MAX_ANSWER};

/// Most codings of one answer that are undone. Real answers have one.
const MAX_CODINGS: usize = 4;

/// The first bytes of gzip. No JSON, form or plain text begins with them.
const GZIP: &[u8] = &[0x1f, 0x8b];

type Bytes = Zeroizing<Vec<u8>>;

/// The reason why a coding was not undone.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// Names the coding.
    Coded(&'static str),
    TooLarge,
}

/// The body without its content codings.
///
/// A body that is not in the coding that its headers name is taken as it is. A gzip body is unpacked also where no
/// header says so: a proxy in between may have dropped the header. A body that cannot be decoded is returned as it
/// came, because it may hold tokens that a later program can read, and the log says so.
pub(super) fn decoded(host: &str, headers: &HeaderMap, body: Bytes) -> Result<Bytes, Error> {
    match decode(headers, &body) {
        Ok(None) => Ok(body),
        Ok(Some(contents)) => Ok(contents),
        Err(Kept::TooLarge) => Err(Error::TooLarge),
        Err(Kept::Coded(coding)) => {
            tracing::warn!(
                host,
                "an answer cannot be read: it is in the coding {coding}, although none was asked for; a proxy in between may \
                 have compressed it"
            );
            Ok(body)
        }
    }
}

/// `None` where there was nothing to undo.
fn decode(headers: &HeaderMap, body: &[u8]) -> Result<Option<Bytes>, Kept> {
    let names = headers.get_all(header::CONTENT_ENCODING).iter();
    let names = names.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase()).collect::<Vec<_>>();
    let codings = names.iter().flat_map(|list| list.split(',')).map(str::trim);
    let codings: Vec<&str> = codings.filter(|name| !matches!(*name, "" | "identity")).collect();
    if codings.len() > MAX_CODINGS {
        return Err(Kept::Coded("of many layers"));
    }
    let mut contents: Option<Bytes> = None;
    // The last one named was applied last.
    for coding in codings.into_iter().rev() {
        let coded = contents.as_deref().map_or(body, Vec::as_slice);
        let undone = match coding {
            // Some servers name the one and send the other.
            "gzip" | "x-gzip" | "deflate" => match unpacked(coded)? {
                None if coding == "deflate" || !is_text(coded) => inflated(coded)?,
                undone => undone,
            },
            _ if is_text(coded) => None,
            "br" => return Err(Kept::Coded("br")),
            "compress" | "x-compress" => return Err(Kept::Coded("compress")),
            "zstd" => return Err(Kept::Coded("zstd")),
            _ => return Err(Kept::Coded("of an unknown name")),
        };
        contents = undone.or(contents);
    }
    Ok(unpacked(contents.as_deref().map_or(body, Vec::as_slice))?.or(contents))
}

/// Most members of a gzip body. Each costs time, even an empty one; servers send one.
const MAX_MEMBERS: usize = 64;

/// The contents of a gzip body, of all its members; `None` for any other body.
pub(super) fn unpacked(body: &[u8]) -> Result<Option<Bytes>, Kept> {
    if !body.starts_with(GZIP) {
        return Ok(None);
    }
    let mut contents = capped();
    let mut rest = body;
    let mut members = 0;
    // Bytes after the last member are padding.
    while rest.starts_with(GZIP) {
        members += 1;
        if members > MAX_MEMBERS {
            return Err(Kept::Coded("of many parts"));
        }
        let mut decoder = GzDecoder::new(rest);
        read(&mut decoder, &mut contents, "gzip")?;
        rest = decoder.into_inner();
    }
    Ok(Some(contents))
}

/// The contents of a `deflate` body: in zlib's format, as the name means, or raw, as some servers send it. `None` for a
/// body that is not compressed.
fn inflated(body: &[u8]) -> Result<Option<Bytes>, Kept> {
    let mut contents = capped();
    match read(&mut ZlibDecoder::new(body), &mut contents, "deflate") {
        Err(Kept::Coded(_)) => contents.clear(),
        done => return done.map(|()| Some(contents)),
    }
    match read(&mut DeflateDecoder::new(body), &mut contents, "deflate") {
        Err(Kept::Coded(_)) if is_text(body) => Ok(None),
        done => done.map(|()| Some(contents)),
    }
}

/// A buffer that never moves while it fills, so that no copy of a token stays behind.
fn capped() -> Bytes {
    Zeroizing::new(Vec::with_capacity(MAX_ANSWER + 1))
}

/// Reads to the end, up to [`MAX_ANSWER`] bytes in `contents`.
fn read(decoder: &mut impl Read, contents: &mut Bytes, coding: &'static str) -> Result<(), Kept> {
    let room = (MAX_ANSWER + 1).saturating_sub(contents.len()) as u64;
    decoder.take(room).read_to_end(contents).map_err(|_| Kept::Coded(coding))?;
    if contents.len() > MAX_ANSWER { Err(Kept::TooLarge) } else { Ok(()) }
}

/// True for a body that nothing has compressed.
fn is_text(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    const JSON: &[u8] = br#"{"access_token":"a"}"#;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(text: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn read(codings: &[&str], body: &[u8]) -> Result<Vec<u8>, Kept> {
        let mut headers = HeaderMap::new();
        for coding in codings {
            headers.append(header::CONTENT_ENCODING, coding.parse().unwrap());
        }
        let came = Zeroizing::new(body.to_vec());
        match (decode(&headers, body), decoded("platform.example", &headers, came)) {
            (Ok(contents), Ok(taken)) => {
                assert_eq!(contents.as_deref().map_or(body, Vec::as_slice), taken.as_slice());
                Ok(taken.to_vec())
            }
            (Err(kept @ Kept::Coded(_)), Ok(taken)) => {
                assert_eq!(taken.as_slice(), body, "it is kept as it came");
                Err(kept)
            }
            (Err(Kept::TooLarge), Err(Error::TooLarge)) => Err(Kept::TooLarge),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn codings_are_undone_in_order() {
        let members = [gzip(&JSON[..5]), gzip(&JSON[5..]), b"\0\0\0".to_vec()].concat();
        let many = [gzip(b"").repeat(MAX_MEMBERS), gzip(JSON)].concat();
        assert!(matches!(read(&["gzip"], &many), Err(Kept::Coded("of many parts"))));
        for (codings, body) in [
            (&[][..], JSON.to_vec()),
            (&["identity"], JSON.to_vec()),
            (&[""], JSON.to_vec()),
            (&["gzip"], gzip(JSON)),
            (&["x-gzip"], gzip(JSON)),
            (&[" GZIP "], gzip(JSON)),
            (&["gzip"], members),
            (&["deflate"], zlib(JSON)),
            (&["deflate"], raw(JSON)),
            (&["deflate, gzip"], gzip(&zlib(JSON))),
            (&["gzip", "deflate"], zlib(&gzip(JSON))),
            (&["gzip, identity, gzip"], gzip(&gzip(JSON))),
            // It was compressed, and nothing says so.
            (&[], gzip(JSON)),
            (&["identity"], gzip(JSON)),
            (&["gzip"], gzip(&gzip(JSON))),
            // It was, in another coding than the headers say.
            (&["gzip"], zlib(JSON)),
            (&["gzip"], raw(JSON)),
            (&["deflate"], gzip(JSON)),
            // It was not, and the headers say it was.
            (&["gzip"], JSON.to_vec()),
            (&["deflate"], JSON.to_vec()),
            (&["br"], JSON.to_vec()),
            (&["utf-8"], JSON.to_vec()),
        ] {
            assert_eq!(read(codings, &body).as_deref(), Ok(JSON), "{codings:?} {body:?}");
        }
        for coding in ["gzip", "deflate", "br"] {
            assert_eq!(read(&[coding], b"").as_deref(), Ok(&b""[..]), "{coding}");
        }
    }

    #[test]
    fn other_answers_are_kept_as_they_came() {
        let brotli = b"\x0b\x09\x80{\"access_token\":\"a\"}\x03\xff";
        for (codings, body, named) in [
            ("br", brotli.to_vec(), "br"),
            ("gzip, br", brotli.to_vec(), "br"),
            ("zstd", b"\x28\xb5\x2f\xfd".to_vec(), "zstd"),
            ("compress", b"\x1f\x9d\x90".to_vec(), "compress"),
            ("whatever", brotli.to_vec(), "of an unknown name"),
            ("gzip", gzip(JSON)[..20].to_vec(), "gzip"),
            ("deflate", b"\x78\x9c\xff\xff".to_vec(), "deflate"),
            ("gzip, gzip, gzip, gzip, gzip", JSON.to_vec(), "of many layers"),
        ] {
            assert_eq!(read(&[codings], &body), Err(Kept::Coded(named)), "{codings}");
        }
    }

    #[test]
    fn the_limit_is_on_what_an_answer_unfolds_to() {
        let most = vec![b' '; MAX_ANSWER];
        let too_much = vec![b' '; MAX_ANSWER + 1];
        for (coding, pack) in [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("deflate", zlib), ("deflate", raw)] {
            assert_eq!(read(&[coding], &pack(&most)).unwrap().len(), MAX_ANSWER, "{coding}");
            assert_eq!(read(&[coding], &pack(&too_much)), Err(Kept::TooLarge), "{coding}");
        }
        let parts = [gzip(&most), gzip(b" ")].concat();
        assert_eq!(read(&["gzip"], &parts), Err(Kept::TooLarge));
        let bomb = gzip(&gzip(&vec![0; 64 * MAX_ANSWER]));
        assert_eq!(read(&["gzip, gzip"], &bomb), Err(Kept::TooLarge));
    }

    proptest! {
        #[test]
        fn no_body_makes_the_decoder_panic(
            body in proptest::collection::vec(any::<u8>(), 0..512),
            coding in "gzip|deflate|br|gzip, deflate|deflate, deflate",
        ) {
            let _ = read(&[&coding], &body);
            let _ = read(&[&coding], &[GZIP, &[8, 0], &body].concat());
        }
    }
}
