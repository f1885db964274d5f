//! Content codings of an answer: none is ever asked for, and servers compress all the same.

use std::io::Read;

use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use zeroize::Zeroizing;

use super::Body;

/// How the bytes of a body are packed (RFC 9110, section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// Not at all.
    Identity,
    /// gzip (RFC 1952).
    Gzip,
    /// zlib (RFC 1950), or what is inside of it (RFC 1951): servers send either under this name.
    Deflate,
}

/// Why a packed body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnpackError {
    /// Unpacked, it is larger than [`MAX_BODY`](super::MAX_BODY).
    TooLarge,
    /// It is not what the header says, or it ends too soon.
    Broken,
}

impl Coding {
    /// The coding that the values of `Content-Encoding` name; `None` for one that is not known, and
    /// for several one after the other.
    pub(super) fn named<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut coding = Self::Identity;
        for name in values.flat_map(|value| value.split(|byte| *byte == b',')) {
            let next = match name.trim_ascii().to_ascii_lowercase().as_slice() {
                // The last two are no codings, and yet servers name them for bodies as they are.
                b"" | b"identity" | b"none" | b"utf-8" => continue,
                b"gzip" | b"x-gzip" => Self::Gzip,
                b"deflate" => Self::Deflate,
                _ => return None,
            };
            if coding != Self::Identity {
                return None;
            }
            coding = next;
        }
        Some(coding)
    }

    /// Unpacks a body. What comes out is limited as any body is, however much is packed in it.
    pub(super) fn unpack(self, packed: Body) -> Result<Body, UnpackError> {
        let bytes = packed.as_bytes();
        match self {
            // An answer without a body, such as one to HEAD or with status 204, may name a coding.
            _ if bytes.is_empty() => Ok(packed),
            Self::Identity => Ok(packed),
            Self::Gzip => read_all(MultiGzDecoder::new(bytes)),
            Self::Deflate if has_zlib_header(bytes) => read_all(ZlibDecoder::new(bytes)),
            Self::Deflate => read_all(DeflateDecoder::new(bytes)),
        }
    }
}

/// Whether the bytes begin as zlib does (RFC 1950, section 2.2).
fn has_zlib_header(bytes: &[u8]) -> bool {
    matches!(bytes, [method, flags, ..] if method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]) % 31 == 0)
}

fn read_all(mut unpacking: impl Read) -> Result<Body, UnpackError> {
    let mut body = Body::default();
    let mut chunk = Zeroizing::new([0_u8; 8192]);
    loop {
        match unpacking.read(&mut chunk[..]) {
            Ok(0) => return Ok(body),
            Ok(length) => {
                let read = chunk.get(..length).unwrap_or_default();
                body.extend(read).map_err(|_| UnpackError::TooLarge)?;
            }
            Err(_) => return Err(UnpackError::Broken),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;
    use crate::http::MAX_BODY;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(coding: Coding, packed: Vec<u8>) -> Result<Vec<u8>, UnpackError> {
        coding.unpack(Body::new(packed)).map(|body| body.as_bytes().to_vec())
    }

    #[test]
    fn codings_as_servers_name_them() {
        let named = |values: &[&str]| Coding::named(values.iter().map(|value| value.as_bytes()));
        for (values, coding) in [
            (&[][..], Some(Coding::Identity)),
            (&[""], Some(Coding::Identity)),
            (&["identity"], Some(Coding::Identity)),
            (&["UTF-8"], Some(Coding::Identity)),
            (&["gzip"], Some(Coding::Gzip)),
            (&[" GZip "], Some(Coding::Gzip)),
            (&["x-gzip"], Some(Coding::Gzip)),
            (&["identity, gzip"], Some(Coding::Gzip)),
            (&["identity", "deflate"], Some(Coding::Deflate)),
            (&["gzip, gzip"], None),
            (&["gzip", "deflate"], None),
            (&["br"], None),
            (&["zstd"], None),
            (&["compress"], None),
        ] {
            assert_eq!(named(values), coding, "{values:?}");
        }
    }

    #[test]
    fn gzip_and_both_forms_of_deflate_are_unpacked() {
        let plain = br#"{"access_token":"abc"}"#.repeat(1000);
        assert_eq!(unpack(Coding::Gzip, gzip(&plain)), Ok(plain.clone()));
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(&plain).unwrap();
        assert_eq!(unpack(Coding::Deflate, zlib.finish().unwrap()), Ok(plain.clone()));
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        raw.write_all(&plain).unwrap();
        assert_eq!(unpack(Coding::Deflate, raw.finish().unwrap()), Ok(plain.clone()));
        let members = [gzip(b"{\"a\":"), gzip(b"1}")].concat();
        assert_eq!(unpack(Coding::Gzip, members), Ok(b"{\"a\":1}".to_vec()));
        assert_eq!(unpack(Coding::Gzip, Vec::new()), Ok(Vec::new()));
    }

    #[test]
    fn what_comes_out_has_the_limit_of_any_body() {
        let largest = vec![b'x'; MAX_BODY];
        assert_eq!(unpack(Coding::Gzip, gzip(&largest)).unwrap().len(), MAX_BODY);
        let bomb = gzip(&vec![b'x'; 64 * MAX_BODY]);
        assert!(bomb.len() < MAX_BODY);
        assert_eq!(unpack(Coding::Gzip, bomb), Err(UnpackError::TooLarge));
    }

    #[test]
    fn what_is_not_what_the_header_says_is_broken() {
        let packed = gzip(b"{\"access_token\":\"abc\"}");
        let cut = packed[..packed.len() - 9].to_vec();
        for bytes in [b"{}".to_vec(), cut] {
            assert_eq!(unpack(Coding::Gzip, bytes), Err(UnpackError::Broken));
        }
        assert_eq!(unpack(Coding::Deflate, vec![0xff; 9]), Err(UnpackError::Broken));
    }

    proptest! {
        #[test]
        fn unpacking_is_total_and_bounded(bytes: Vec<u8>) {
            for coding in [Coding::Identity, Coding::Gzip, Coding::Deflate] {
                if let Ok(body) = unpack(coding, bytes.clone()) {
                    prop_assert!(body.len() <= MAX_BODY);
                }
            }
        }
    }
}
