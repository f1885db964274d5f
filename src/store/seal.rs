//! Sealing what a row holds, so that who reads the disk, a replica or a backup learns nothing of it.
//!
//! Each sealing draws a salt of 24 random bytes. HKDF-SHA256 (RFC 5869) makes a key of the master key and
//! the salt, and that key seals each field of the row once, with AES-256-GCM. The nonce is the number of
//! the field: it never repeats under one key, because no key is used for two sealings. What a field was
//! sealed for (version, master key, receiver, delivery, field) is bound to it, so that no field can be
//! moved to another row without being noticed.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// Version of the form that is described above; bound to everything that is sealed.
const VERSION: u8 = 1;

/// Length of a master key in bytes.
const KEY_LENGTH: usize = 32;

/// Random bytes of one sealing.
pub type SealSalt = [u8; 24];

/// Names a master key without telling anything of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// The bytes that name it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        self.0
    }

    /// The id that these bytes are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A file of a master key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("the data key file {path} cannot be read")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It holds something else.
    #[error(
        "the data key file {path} holds no key: it needs 32 random bytes, as they are or written in hex \
         or base64; make one with `openssl rand -base64 32`"
    )]
    NoKey {
        /// Which file.
        path: PathBuf,
    },
}

/// A master key.
pub struct MasterKey {
    id: KeyId,
    bytes: Zeroizing<[u8; KEY_LENGTH]>,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MasterKey({})", self.id)
    }
}

impl MasterKey {
    /// Reads a key from a file.
    ///
    /// # Errors
    /// When the file cannot be read or holds no key.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let content = std::fs::read(path)
            .map(Zeroizing::new)
            .map_err(|source| KeyFileError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&content).ok_or_else(|| KeyFileError::NoKey { path: path.to_owned() })
    }

    /// The key that is written here: 32 bytes as they are, or as hex or base64 of either alphabet with at
    /// most one line break after them.
    ///
    /// A text of 32 characters is not taken for 32 bytes: it is a password, or the hex of half a key.
    #[must_use]
    pub fn parse(content: &[u8]) -> Option<Self> {
        let bytes = if content.len() == KEY_LENGTH && !content.iter().all(|byte| is_text(*byte)) {
            Zeroizing::new(content.to_vec())
        } else {
            decode(std::str::from_utf8(content).ok()?)?
        };
        let bytes: [u8; KEY_LENGTH] = bytes.as_slice().try_into().ok()?;
        let bytes = Zeroizing::new(bytes);
        // Such a file was made by hand or by a disk that lost its content.
        if bytes.iter().all(|byte| *byte == bytes[0]) {
            return None;
        }
        let mut id = [0; 8];
        expand(&bytes, b"", b"hookkeeper data key id", &mut id)?;
        Some(Self { id: KeyId(id), bytes })
    }

    /// What names it.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    fn row_key(&self, salt: &SealSalt) -> Option<LessSafeKey> {
        let mut key = Zeroizing::new([0; KEY_LENGTH]);
        expand(&self.bytes, salt, b"hookkeeper row", key.as_mut_slice())?;
        UnboundKey::new(&AES_256_GCM, key.as_slice()).ok().map(LessSafeKey::new)
    }
}

fn is_text(byte: u8) -> bool {
    byte.is_ascii_graphic() || byte.is_ascii_whitespace()
}

fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if text.len() == 2 * KEY_LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let bytes = (0..KEY_LENGTH).map(|index| u8::from_str_radix(&text[2 * index..2 * index + 2], 16));
        return bytes.collect::<Result<Vec<u8>, _>>().ok().map(Zeroizing::new);
    }
    let either = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [alphabet::STANDARD, alphabet::URL_SAFE]
        .iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, either).decode(text).ok())
        .map(Zeroizing::new)
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-SHA256; `None` only when more is asked for than it can give.
fn expand(master: &[u8; KEY_LENGTH], salt: &[u8], info: &[u8], out: &mut [u8]) -> Option<()> {
    Salt::new(HKDF_SHA256, salt).extract(master).expand(&[info], Length(out.len())).ok()?.fill(out).ok()
}

/// Which field of a row is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    /// The bytes of a delivery.
    Body = 1,
    /// Their type.
    ContentType = 2,
    /// The sender's date.
    EventTime = 3,
    /// The id that an application waits for.
    ExpectedId = 4,
    /// The store's key for digests.
    DigestKey = 5,
    /// How the bytes of a delivery are encoded.
    ContentEncoding = 6,
}

/// What a sealed field belongs to.
#[derive(Clone, Copy, Debug)]
pub struct RowName<'a> {
    /// Uid of the receiver; empty for what belongs to the store.
    pub uid: &'a str,
    /// What names the row among those of the receiver.
    pub row: &'a [u8],
}

/// It was sealed with a key that is not given, or for another row, or it is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is damaged or was sealed with another key")]
pub struct CannotOpen;

/// Seals with the first of its master keys, and opens what either of them has sealed.
#[derive(Debug)]
pub struct Sealer {
    first: MasterKey,
    second: Option<MasterKey>,
}

/// The key of one row, for one sealing of it.
pub struct RowKey<'a> {
    key: LessSafeKey,
    id: KeyId,
    name: RowName<'a>,
}

impl fmt::Debug for RowKey<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RowKey({})", self.id)
    }
}

impl Sealer {
    /// New rows are sealed with `first`; `second` is for what was sealed before it was changed.
    #[must_use]
    pub fn new(first: MasterKey, second: Option<MasterKey>) -> Self {
        Self { first, second }
    }

    /// The key that seals.
    #[must_use]
    pub fn sealing_key(&self) -> KeyId {
        self.first.id
    }

    /// Whether it can open what this key has sealed.
    #[must_use]
    pub fn has(&self, id: KeyId) -> bool {
        self.master(id).is_some()
    }

    fn master(&self, id: KeyId) -> Option<&MasterKey> {
        [Some(&self.first), self.second.as_ref()].into_iter().flatten().find(|key| key.id == id)
    }

    /// A new key for a row, and the salt that has to be kept with what it seals. `None` when the operating
    /// system gives no random bytes.
    #[must_use]
    pub fn seal<'a>(&self, name: RowName<'a>) -> Option<(SealSalt, RowKey<'a>)> {
        let mut salt = SealSalt::default();
        getrandom::fill(&mut salt).ok()?;
        let key = self.first.row_key(&salt)?;
        Some((salt, RowKey { key, id: self.first.id, name }))
    }

    /// The key that this row was sealed with.
    ///
    /// # Errors
    /// When its master key is not given.
    pub fn open<'a>(&self, id: KeyId, salt: &SealSalt, name: RowName<'a>) -> Result<RowKey<'a>, CannotOpen> {
        let key = self.master(id).and_then(|master| master.row_key(salt)).ok_or(CannotOpen)?;
        Ok(RowKey { key, id, name })
    }
}

impl RowKey<'_> {
    /// The field sealed. To be called once for each field; `None` when it is too large for the cipher.
    #[must_use]
    pub fn seal(&self, field: Field, clear: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(clear.len() + AES_256_GCM.tag_len());
        bytes.extend_from_slice(clear);
        self.key
            .seal_in_place_append_tag(nonce(field), Aad::from(self.associated(field)), &mut bytes)
            .ok()
            .map(|()| bytes)
    }

    /// The field opened.
    ///
    /// # Errors
    /// When it was changed, or was sealed for something else.
    pub fn open(&self, field: Field, mut sealed: Vec<u8>) -> Result<Vec<u8>, CannotOpen> {
        let length = self
            .key
            .open_in_place(nonce(field), Aad::from(self.associated(field)), &mut sealed)
            .map_err(|_| CannotOpen)?
            .len();
        sealed.truncate(length);
        Ok(sealed)
    }

    fn associated(&self, field: Field) -> Vec<u8> {
        let mut data = vec![VERSION, field as u8];
        data.extend_from_slice(&self.id.0);
        data.extend_from_slice(&(self.name.uid.len() as u64).to_be_bytes());
        data.extend_from_slice(self.name.uid.as_bytes());
        data.extend_from_slice(self.name.row);
        data
    }
}

fn nonce(field: Field) -> Nonce {
    let mut bytes = [0; 12];
    bytes[11] = field as u8;
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> MasterKey {
        let bytes: Vec<u8> = (0..32).map(|index| seed.wrapping_add(index) | 0x80).collect();
        MasterKey::parse(&bytes).unwrap()
    }

    const NAME: RowName<'static> = RowName { uid: "uid", row: b"row" };

    #[test]
    fn a_key_is_read_from_bytes_hex_and_base64_and_is_the_same_key() {
        let bytes: Vec<u8> = (0x80..0xa0).collect();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let standard = base64::engine::general_purpose::STANDARD.encode(&bytes);
        let id = MasterKey::parse(&bytes).unwrap().id();
        for text in [
            hex.clone(),
            hex.to_uppercase(),
            format!("{hex}\n"),
            format!("{hex}\r\n"),
            standard.clone(),
            format!("{standard}\n"),
            standard.replace('+', "-").replace('/', "_"),
            standard.trim_end_matches('=').to_owned(),
        ] {
            assert_eq!(MasterKey::parse(text.as_bytes()).map(|key| key.id()), Some(id), "{text}");
        }
        let half = &hex[..32];
        for wrong in [
            "".as_bytes(),
            half.as_bytes(),
            &bytes[..31],
            &[bytes.as_slice(), b"\n"].concat(),
            b"correct horse battery staple 123",
            &[0; 32],
            "0".repeat(64).as_bytes(),
            format!("{hex}\n\n").as_bytes(),
            format!(" {hex}").as_bytes(),
            "gg".repeat(32).as_bytes(),
        ] {
            assert!(MasterKey::parse(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn a_missing_and_a_wrong_key_file_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let missing = MasterKey::read(&path).unwrap_err().to_string();
        assert!(missing.contains(path.to_str().unwrap()), "{missing}");
        std::fs::write(&path, "canary-of-a-wrong-key").unwrap();
        let wrong = MasterKey::read(&path).unwrap_err().to_string();
        assert!(wrong.contains(path.to_str().unwrap()) && wrong.contains("openssl rand"), "{wrong}");
        assert!(!wrong.contains("canary"), "{wrong}");
    }

    #[test]
    fn what_is_sealed_opens_for_its_own_row_and_field_alone() {
        let sealer = Sealer::new(key(1), None);
        let (salt, sealing) = sealer.seal(NAME).unwrap();
        let sealed = sealing.seal(Field::Body, b"clear").unwrap();
        let id = sealer.sealing_key();
        let open =
            |name, field, bytes: &[u8]| sealer.open(id, &salt, name).unwrap().open(field, bytes.to_vec());
        assert_eq!(open(NAME, Field::Body, &sealed), Ok(b"clear".to_vec()));
        assert_eq!(open(NAME, Field::ContentType, &sealed), Err(CannotOpen));
        assert_eq!(open(RowName { uid: "other", ..NAME }, Field::Body, &sealed), Err(CannotOpen));
        assert_eq!(open(RowName { row: b"other", ..NAME }, Field::Body, &sealed), Err(CannotOpen));
        // The border between the two parts of the name counts.
        assert_eq!(open(RowName { uid: "uidr", row: b"ow" }, Field::Body, &sealed), Err(CannotOpen));
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(open(NAME, Field::Body, &changed), Err(CannotOpen), "byte {index}");
            assert_eq!(open(NAME, Field::Body, &sealed[..index]), Err(CannotOpen), "cut at {index}");
        }
    }

    #[test]
    fn two_sealings_of_one_row_share_neither_salt_nor_bytes() {
        let sealer = Sealer::new(key(1), None);
        let seal = || {
            let (salt, row) = sealer.seal(NAME).unwrap();
            (salt, row.seal(Field::Body, b"the same").unwrap())
        };
        let (one, other) = (seal(), seal());
        assert_ne!(one.0, other.0);
        assert_ne!(one.1, other.1);
    }

    #[test]
    fn the_first_key_seals_and_both_open() {
        let before = Sealer::new(key(1), None);
        let (salt, row) = before.seal(NAME).unwrap();
        let sealed = row.seal(Field::Body, b"clear").unwrap();
        let changed = Sealer::new(key(2), Some(key(1)));
        assert_ne!(changed.sealing_key(), before.sealing_key());
        let old = changed.open(before.sealing_key(), &salt, NAME).unwrap();
        assert_eq!(old.open(Field::Body, sealed), Ok(b"clear".to_vec()));
        assert!(!Sealer::new(key(2), None).has(before.sealing_key()));
        assert!(Sealer::new(key(2), None).open(before.sealing_key(), &salt, NAME).is_err());
    }
}
