//! Why a store was not opened, and what trouble with the database means for those who asked.

use std::error::Error as _;
use std::path::PathBuf;

use tokio_postgres::error::SqlState;

use crate::printable::printable;
use crate::store::StoreError;
use crate::store::seal::KeyId;

/// A store in a database was not opened. What was there has not been changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// It cannot be reached or does not answer; trying again may help.
    #[error(
        "the database {database} does not answer ({problem}): see that it runs, and that --database names its \
         host and port"
    )]
    Away {
        /// Which database.
        database: String,
        /// What happened.
        problem: String,
    },
    /// The server knows neither the role nor its password.
    #[error(
        "the database {database} refuses the login ({problem}): see what --database-user-file and \
         --database-password-file hold"
    )]
    Login {
        /// Which database.
        database: String,
        /// What the server says.
        problem: String,
    },
    /// There is none of this name.
    #[error("there is no database {database} ({problem}): create it, or correct --database")]
    Missing {
        /// Which database.
        database: String,
        /// What the server says.
        problem: String,
    },
    /// The connection cannot be made safe.
    #[error(
        "the connection to the database {database} cannot be made safe ({problem}): --database must name the host \
         as the server's certificate does, and --database-ca-file the authority that signed it; a server without TLS \
         on this machine is used with --database-tls disable"
    )]
    Tls {
        /// Which database.
        database: String,
        /// What is wrong.
        problem: String,
    },
    /// A file that a flag names cannot be used.
    #[error("the file {path} of {flag} {problem}")]
    File {
        /// Which flag.
        flag: &'static str,
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No user is given.
    #[error(
        "no user is given for the database {database}: name a file that holds it with --database-user-file"
    )]
    NoUser {
        /// Which database.
        database: String,
    },
    /// The server would lose what it has committed, or cannot be worked with.
    #[error("the database {database} has {setting} = {value}, and {need}")]
    Setting {
        /// Which database.
        database: String,
        /// Name of the setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What is needed, and what to do.
        need: &'static str,
    },
    /// Its tables are those of something else.
    #[error(
        "the schema hookkeeper of the database {database} is not a store of hookkeeper: give a database in which \
         nobody else has a schema of this name"
    )]
    Foreign {
        /// Which database.
        database: String,
    },
    /// A newer hookkeeper made the tables.
    #[error(
        "the tables in the database {database} were written by a newer hookkeeper (version {found} of the store, \
         this one knows {known}): start that one again; there is no way back to an older version"
    )]
    Newer {
        /// Which database.
        database: String,
        /// Version of the tables.
        found: i32,
        /// The newest version that is known here.
        known: i32,
    },
    /// The role may not do what is needed.
    #[error(
        "the role may not work in the database {database} ({problem}): let it create a schema there \
         (GRANT CREATE ON DATABASE … TO …), or make one for it (CREATE SCHEMA hookkeeper AUTHORIZATION …)"
    )]
    NoPermission {
        /// Which database.
        database: String,
        /// What the server says.
        problem: String,
    },
    /// Rows were sealed with a key that is not given.
    #[error(
        "KeyStillNeeded: the database {database} holds rows that were sealed with the data key {key}, which is not \
         given: give it as a second --data-key-file until the log says that nothing needs it any more"
    )]
    KeyStillNeeded {
        /// Which database.
        database: String,
        /// Which key.
        key: KeyId,
    },
    /// Anything else.
    #[error("the store in the database {database} cannot be opened: {problem}")]
    Failed {
        /// Which database.
        database: String,
        /// What happened.
        problem: String,
    },
}

impl PostgresError {
    /// What the trouble of opening is to people.
    pub(super) fn of(database: &str, trouble: Trouble) -> Self {
        let database = database.to_owned();
        match trouble {
            Trouble::Open(error) => *error,
            Trouble::Away(problem) => Self::Away { database, problem },
            Trouble::Store(error) => Self::Failed { database, problem: error.to_string() },
            Trouble::Refused { code, problem } => match Kind::of(&code) {
                Kind::Login => Self::Login { database, problem },
                Kind::NoDatabase => Self::Missing { database, problem },
                Kind::NoPermission => Self::NoPermission { database, problem },
                Kind::Locked | Kind::Leaves | Kind::Repeatable => Self::Away { database, problem },
                Kind::Full | Kind::Other => Self::Failed { database, problem },
            },
        }
    }
}

/// What went wrong with the database.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The connection is gone, or nobody knows what became of what was asked: the session is not used again.
    Away(String),
    /// The server has refused a statement, and nothing of its transaction has happened.
    Refused { code: SqlState, problem: String },
    /// The store itself cannot do it.
    Store(StoreError),
    /// What cannot be used at all.
    Open(Box<PostgresError>),
}

/// What a state of the server's (<https://www.postgresql.org/docs/current/errcodes-appendix.html>) means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Somebody holds a row too long, or it took too long.
    Locked,
    /// Two got in each other's way: the same again may work.
    Repeatable,
    /// Its disk is full.
    Full,
    /// The server ends, has too many connections, or does not write any more.
    Leaves,
    /// It does not know us.
    Login,
    /// It does not know the database.
    NoDatabase,
    /// We may not.
    NoPermission,
    /// It is about the statement.
    Other,
}

impl Kind {
    pub(super) fn of(code: &SqlState) -> Self {
        let text = code.code();
        match text {
            "55P03" | "57014" => Self::Locked,
            "40001" | "40P01" => Self::Repeatable,
            "53100" => Self::Full,
            "25006" | "25P03" => Self::Leaves,
            "3D000" => Self::NoDatabase,
            "42501" => Self::NoPermission,
            _ => match text.get(..2) {
                Some("08" | "53" | "57" | "58" | "F0") => Self::Leaves,
                Some("28") => Self::Login,
                _ => Self::Other,
            },
        }
    }
}

impl Trouble {
    pub(super) fn late() -> Self {
        Self::Away("it did not answer in time".to_owned())
    }

    /// What it means for who asked. Nothing was changed, or nobody knows.
    pub(super) fn meaning(&self) -> StoreError {
        match self {
            Self::Away(problem) => StoreError::Unavailable(problem.clone()),
            Self::Store(error) => error.clone(),
            Self::Open(error) => StoreError::Unavailable(error.to_string()),
            Self::Refused { code, problem } => match Kind::of(code) {
                Kind::Full => StoreError::Full(problem.clone()),
                _ => StoreError::Unavailable(problem.clone()),
            },
        }
    }

    /// Whether the session can be used again after a rollback.
    pub(super) fn leaves_session(&self) -> bool {
        match self {
            Self::Away(_) | Self::Open(_) => false,
            Self::Store(_) => true,
            Self::Refused { code, .. } => Kind::of(code) != Kind::Leaves,
        }
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            // Its detail may hold what was written.
            Some(refusal) => Self::Refused {
                code: refusal.code().clone(),
                problem: printable(refusal.message()).into_owned(),
            },
            None => Self::Away(chain(&error)),
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// An error and what it came from, in one line.
pub(super) fn chain(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    printable(&text).into_owned()
}

/// Whether TLS is what failed. The library's own kinds of errors are hidden.
pub(super) fn is_of_tls(error: &tokio_postgres::Error) -> bool {
    error.to_string().starts_with("error performing TLS handshake")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str) -> Trouble {
        Trouble::Refused { code: SqlState::from_code(code), problem: "it said so".to_owned() }
    }

    #[test]
    fn only_a_full_disk_is_a_full_disk_and_nothing_ends_the_process() {
        assert!(matches!(refused("53100").meaning(), StoreError::Full(_)));
        for code in ["53300", "57P01", "40P01", "55P03", "57014", "25006", "42P01", "XX001", "23505"] {
            assert!(matches!(refused(code).meaning(), StoreError::Unavailable(_)), "{code}");
        }
        assert!(matches!(Trouble::late().meaning(), StoreError::Unavailable(_)));
    }

    #[test]
    fn a_session_with_a_server_that_ends_or_does_not_write_is_left() {
        for code in ["57P01", "57P02", "57P03", "25006", "25P03", "08006", "53300", "58030"] {
            assert!(!refused(code).leaves_session(), "{code}");
        }
        for code in ["23505", "40P01", "55P03", "57014", "53100"] {
            assert!(refused(code).leaves_session(), "{code}");
        }
        assert!(!Trouble::late().leaves_session());
    }

    #[test]
    fn each_refusal_at_the_start_names_the_flag() {
        let told = |code| PostgresError::of("db:5432/gate", refused(code)).to_string();
        for (code, words) in [
            ("28P01", "--database-password-file"),
            ("28000", "--database-user-file"),
            ("3D000", "--database"),
            ("42501", "CREATE SCHEMA"),
            ("57P03", "does not answer"),
        ] {
            assert!(told(code).contains(words) && told(code).contains("db:5432/gate"), "{}", told(code));
        }
    }
}
