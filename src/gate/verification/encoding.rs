//! Bytes as headers write them. Read generously: what are equal bytes is equal.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Padded or not.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes that these hexadecimal digits, in either case, are.
pub(super) fn hex(digits: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let digit = |digit: u8| char::from(digit).to_digit(16);
    pairs.iter().map(|[high, low]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()).collect()
}

/// The bytes that this base64 (RFC 4648) is, in either alphabet.
pub(super) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let standard: Vec<u8> = text
        .iter()
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => *other,
        })
        .collect();
    ENGINE.decode(standard).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_are_equal_however_they_are_written() {
        for text in ["fbff3e", "FBFF3E", "fBfF3e"] {
            assert_eq!(hex(text.as_bytes()), Some(vec![0xfb, 0xff, 0x3e]), "{text}");
        }
        for text in ["+/8+YQ==", "-_8-YQ==", "+/8+YQ", "-_8-YQ", "-_8-YQ="] {
            assert_eq!(base64(text.as_bytes()), Some(vec![0xfb, 0xff, 0x3e, 0x61]), "{text}");
        }
        assert_eq!(hex(b""), Some(Vec::new()));
        assert_eq!(base64(b""), Some(Vec::new()));
    }

    #[test]
    fn what_is_no_such_text_is_none() {
        for text in ["f", "fbf", "0x", "g0", " f0", "f0 ", "+1", "\u{ff10}"] {
            assert_eq!(hex(text.as_bytes()), None, "{text}");
        }
        for text in ["Y", "YQ===", "Y Q==", "=", "YQ==YQ==", "Y*==", "\u{e9}"] {
            assert_eq!(base64(text.as_bytes()), None, "{text}");
        }
    }
}
