//! What came from outside, as it lies in a row: in clear, or sealed.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use aws_lc_rs::hmac;
use bytes::Bytes;

use super::seal::{CannotOpen, Field, KeyId, RowName, SealSalt, Sealer};
use super::{DeliveryId, Digest, StoreError};

/// Stands in a row for "in clear".
pub(super) const CLEAR: i64 = 0;

/// How something is sealed: by which key, and with which salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sealing {
    /// Number of the master key in this store.
    pub(super) seal: i64,
    pub(super) salt: Option<SealSalt>,
}

/// The fields of a delivery that are sealed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) body: Bytes,
    pub(super) content_type: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) event_time: Option<String>,
}

/// The same fields as they are written.
#[derive(Clone)]
pub(super) struct Written {
    pub(super) sealing: Sealing,
    pub(super) body: Bytes,
    pub(super) content_type: Option<Vec<u8>>,
    pub(super) content_encoding: Option<Vec<u8>>,
    pub(super) event_time: Option<Vec<u8>>,
}

/// The master keys, by their numbers in this store.
pub(super) struct Seals {
    sealer: Option<Sealer>,
    current: i64,
    keys: RwLock<HashMap<i64, KeyId>>,
}

impl Seals {
    /// `current` is the number of the key that seals, or [`CLEAR`].
    pub(super) fn new(sealer: Option<Sealer>, current: i64, keys: HashMap<i64, KeyId>) -> Self {
        Self { sealer, current, keys: RwLock::new(keys) }
    }

    pub(super) fn is_sealing(&self) -> bool {
        self.sealer.is_some()
    }

    /// The number of the key that seals, or [`CLEAR`].
    pub(super) fn current(&self) -> i64 {
        self.current
    }

    /// Others who use the same store have brought in keys since it was opened.
    pub(super) fn learn(&self, keys: HashMap<i64, KeyId>) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// The numbers of what can be opened here: what lies there in clear, and what was sealed with a key that
    /// is given.
    pub(super) fn can_be_opened(&self) -> Vec<i64> {
        let keys = self.keys();
        let given = keys.iter().filter(|(_, key)| self.sealer.as_ref().is_some_and(|own| own.has(**key)));
        given.map(|(seal, _)| *seal).chain([CLEAR]).collect()
    }

    /// The numbers of other keys, and the one for "in clear" when there is a key now.
    pub(super) fn outdated(&self) -> Vec<i64> {
        let mut outdated: Vec<i64> =
            self.keys().keys().copied().filter(|seal| *seal != self.current).collect();
        if self.is_sealing() {
            outdated.push(CLEAR);
        }
        outdated
    }

    pub(super) fn key_id(&self, seal: i64) -> Option<KeyId> {
        self.keys().get(&seal).copied()
    }

    fn keys(&self) -> RwLockReadGuard<'_, HashMap<i64, KeyId>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fields of a delivery, sealed if there is a key.
    pub(super) fn write(&self, uid: &str, id: DeliveryId, content: &Content) -> Result<Written, StoreError> {
        let row = id.to_bytes();
        let Some(sealer) = &self.sealer else {
            return Ok(Written {
                sealing: Sealing { seal: CLEAR, salt: None },
                body: content.body.clone(),
                content_type: content.content_type.clone().map(String::into_bytes),
                content_encoding: content.content_encoding.clone().map(String::into_bytes),
                event_time: content.event_time.clone().map(String::into_bytes),
            });
        };
        let sealed = || {
            let (salt, key) = sealer.seal(RowName { uid, row: &row })?;
            let text = |field, text: &Option<String>| match text {
                Some(text) => key.seal(field, text.as_bytes()).map(Some),
                None => Some(None),
            };
            Some(Written {
                sealing: Sealing { seal: self.current, salt: Some(salt) },
                body: key.seal(Field::Body, &content.body)?.into(),
                content_type: text(Field::ContentType, &content.content_type)?,
                content_encoding: text(Field::ContentEncoding, &content.content_encoding)?,
                event_time: text(Field::EventTime, &content.event_time)?,
            })
        };
        sealed().ok_or_else(cannot_seal)
    }

    /// The fields of a delivery, as they came.
    pub(super) fn read(&self, uid: &str, id: DeliveryId, written: Written) -> Result<Content, StoreError> {
        let row = id.to_bytes();
        let open = || {
            let key = self.key(written.sealing, RowName { uid, row: &row })?;
            let open = |field, bytes: Vec<u8>| match &key {
                Some(key) => key.open(field, bytes),
                None => Ok(bytes),
            };
            let text = |field, bytes: Option<Vec<u8>>| {
                let bytes = bytes.map(|bytes| open(field, bytes)).transpose()?;
                bytes.map(String::from_utf8).transpose().map_err(|_| CannotOpen)
            };
            Ok(Content {
                body: open(Field::Body, written.body.into())?.into(),
                content_type: text(Field::ContentType, written.content_type)?,
                content_encoding: text(Field::ContentEncoding, written.content_encoding)?,
                event_time: text(Field::EventTime, written.event_time)?,
            })
        };
        open().map_err(|problem: CannotOpen| StoreError::Unreadable { id, problem: problem.to_string() })
    }

    /// One field that stands alone, sealed if there is a key.
    pub(super) fn write_one(
        &self,
        field: Field,
        name: RowName<'_>,
        clear: &[u8],
    ) -> Result<(Sealing, Vec<u8>), StoreError> {
        let Some(sealer) = &self.sealer else {
            return Ok((Sealing { seal: CLEAR, salt: None }, clear.to_vec()));
        };
        let (salt, key) = sealer.seal(name).ok_or_else(cannot_seal)?;
        let sealed = key.seal(field, clear).ok_or_else(cannot_seal)?;
        Ok((Sealing { seal: self.current, salt: Some(salt) }, sealed))
    }

    /// One field that stands alone, as it was.
    pub(super) fn read_one(
        &self,
        field: Field,
        name: RowName<'_>,
        sealing: Sealing,
        bytes: Vec<u8>,
    ) -> Result<Vec<u8>, CannotOpen> {
        match self.key(sealing, name)? {
            Some(key) => key.open(field, bytes),
            None => Ok(bytes),
        }
    }

    /// `None` for what lies there in clear.
    fn key<'a>(
        &self,
        sealing: Sealing,
        name: RowName<'a>,
    ) -> Result<Option<super::seal::RowKey<'a>>, CannotOpen> {
        if sealing.seal == CLEAR {
            return Ok(None);
        }
        let (Some(sealer), Some(salt), Some(id)) = (&self.sealer, sealing.salt, self.key_id(sealing.seal))
        else {
            return Err(CannotOpen);
        };
        sealer.open(id, &salt, name).map(Some)
    }
}

/// What an expectation is found by: its id may be sealed, and each sealing looks different.
pub(super) fn expectation_digest(key: &[u8; 32], uid: &str, id: &str) -> Digest {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    context.update(b"expectation\0");
    context.update(&(uid.len() as u64).to_be_bytes());
    context.update(uid.as_bytes());
    context.update(id.as_bytes());
    let mut digest = Digest::default();
    digest.copy_from_slice(context.sign().as_ref());
    digest
}

fn cannot_seal() -> StoreError {
    StoreError::Unavailable("nothing can be sealed: the operating system gives no random bytes".to_owned())
}
