//! Unpredictable bytes that cannot fail once the sandbox runs.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::Error;

/// SHA-256 over a random seed and a counter.
///
/// The system is asked once, at the start, so no request has to answer for a failing source.
pub(super) struct Random {
    seed: [u8; 32],
    drawn: u64,
}

impl Random {
    pub(super) fn from_system() -> Result<Self, Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| Error::Random)?;
        Ok(Self { seed, drawn: 0 })
    }

    #[cfg(test)]
    pub(super) fn seeded(byte: u8) -> Self {
        Self { seed: [byte; 32], drawn: 0 }
    }

    fn bytes(&mut self) -> [u8; 32] {
        self.drawn += 1;
        Sha256::new().chain_update(self.seed).chain_update(self.drawn.to_be_bytes()).finalize().into()
    }

    /// 43 characters that nobody can guess, usable in a header.
    pub(super) fn unguessable(&mut self) -> String {
        URL_SAFE_NO_PAD.encode(self.bytes())
    }

    /// A short name for a token that says nothing about it.
    pub(super) fn label(&mut self) -> String {
        hex(&self.bytes()[..6])
    }

    /// A UUID of version 4 (RFC 9562).
    pub(super) fn uuid(&mut self) -> String {
        let mut bytes = self.bytes();
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        [&bytes[..4], &bytes[4..6], &bytes[6..8], &bytes[8..10], &bytes[10..16]].map(hex).join("-")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_looks_like_one() {
        let mut random = Random::seeded(7);
        let uuid = random.uuid();
        let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(uuid.as_bytes()[14], b'4');
        assert_ne!(uuid, random.uuid());
    }
}
