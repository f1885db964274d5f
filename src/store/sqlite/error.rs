//! Why a store was not opened, and what an error of SQLite means for those who asked.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::store::StoreError;
use crate::store::seal::KeyId;

/// A store was not opened. A file that was there has not been changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder is not there.
    #[error("the folder {path} of the store does not exist: make it, or mount the volume that holds it")]
    NoFolder {
        /// Which folder.
        path: PathBuf,
    },
    /// The path is something else.
    #[error("{path} is no folder: the store needs one of its own")]
    NotAFolder {
        /// Which path.
        path: PathBuf,
    },
    /// The process may not do what it needs to.
    #[error(
        "the store in {path} cannot be read and written ({source}): give the folder and its files to the \
         user that hookkeeper runs as"
    )]
    NoPermission {
        /// Which file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// What is written there is not kept, or not safe from what others do.
    #[error(
        "the store must not lie in {path}: {kind}; use a folder on a local disk or a block volume, or allow it \
         with --data-may-vanish where deliveries may be lost"
    )]
    MayVanish {
        /// Which folder.
        path: PathBuf,
        /// What is wrong with it, in words.
        kind: String,
    },
    /// Another process has it.
    #[error(
        "the store in {path} is in use by another process: each gate needs a folder of its own; end the \
         other process first"
    )]
    InUse {
        /// Which folder.
        path: PathBuf,
    },
    /// The file belongs to something else.
    #[error("{path} is not a store of hookkeeper: move it away, or give another folder")]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// A newer hookkeeper made the file.
    #[error(
        "{path} was written by a newer hookkeeper (version {found} of the store, this one knows {known}): \
         start that one again; there is no way back to an older version"
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Version of the file.
        found: i32,
        /// The newest version that is known here.
        known: i32,
    },
    /// The file is damaged.
    #[error(
        "{path} is damaged ({problem}): keep a copy of the folder, then restore it from a backup, or try \
         `sqlite3 {path} .recover`; with an empty folder hookkeeper starts again, without what waited"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What SQLite says.
        problem: String,
    },
    /// SQLite is too old.
    #[error(
        "this hookkeeper was built with SQLite {found}; versions before 3.51.3 can lose what was committed"
    )]
    OldSqlite {
        /// The version.
        found: String,
    },
    /// Rows were sealed with a key that is not given.
    #[error(
        "KeyStillNeeded: the store in {path} holds rows that were sealed with the data key {key}, which is not \
         given: give it as a second --data-key-file until the log says that nothing needs it any more"
    )]
    KeyStillNeeded {
        /// Which folder.
        path: PathBuf,
        /// Which key.
        key: KeyId,
    },
    /// The disk is full.
    #[error(
        "the store in {path} cannot be opened, because its disk is full ({problem}): free some space there"
    )]
    Full {
        /// Which folder.
        path: PathBuf,
        /// What SQLite says.
        problem: String,
    },
    /// Anything else.
    #[error("the store in {path} cannot be opened: {problem}; see that the disk works")]
    Failed {
        /// Which file or folder.
        path: PathBuf,
        /// What happened.
        problem: String,
    },
}

impl OpenError {
    pub(super) fn of_file_system(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound => Self::NoFolder { path },
            io::ErrorKind::NotADirectory => Self::NotAFolder { path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NoPermission { path, source: error }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { path, problem: error.to_string() }
            }
            _ => Self::Failed { path, problem: error.to_string() },
        }
    }

    pub(super) fn of_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        let problem = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse { path },
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Damaged { path, problem },
            Some(ErrorCode::DiskFull) => Self::Full { path, problem },
            Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
                Self::NoPermission { path, source: io::Error::new(io::ErrorKind::PermissionDenied, problem) }
            }
            _ => Self::Failed { path, problem },
        }
    }
}

/// What an error of SQLite means while the store is open.
///
/// Only a full disk and a lack of memory are certain to have changed nothing. After a failed fsync the
/// kernel may have thrown away what it could not write, and says so once: no later success can be believed.
pub(super) fn meaning(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full(error.to_string()),
        Some(ErrorCode::OutOfMemory | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Unavailable(error.to_string())
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Broken(format!(
            "its file is damaged ({error}); restore the folder from a backup, or try `sqlite3 FILE .recover`"
        )),
        _ => match error.sqlite_extended_error_code() {
            Some(code) => {
                StoreError::Broken(format!("{error} (SQLite code {code}); see that the disk works"))
            }
            None => StoreError::Broken(format!("a row is not as it was written: {error}")),
        },
    }
}
