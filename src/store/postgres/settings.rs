//! Whether a server keeps what it says that it has committed.

use tokio_postgres::Row;

use super::error::PostgresError;

/// The first version that this is tried with, as `server_version_num` writes it.
const OLDEST: i32 = 150_000;

/// How a server is set, as far as that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) version: i32,
    pub(super) fsync: String,
    pub(super) full_page_writes: String,
    pub(super) synchronous_commit: String,
    pub(super) encoding: String,
    /// Its standbys that have to confirm a commit; empty when none has to.
    pub(super) synchronous_standbys: String,
}

/// Asks for [`Settings`], in the order of its fields.
pub(super) const QUERY: &str = "SELECT current_setting('server_version_num')::int4, current_setting('fsync'),
     current_setting('full_page_writes'), current_setting('synchronous_commit'), current_setting('server_encoding'),
     current_setting('synchronous_standby_names')";

impl Settings {
    pub(super) fn of(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            version: row.try_get(0)?,
            fsync: row.try_get(1)?,
            full_page_writes: row.try_get(2)?,
            synchronous_commit: row.try_get(3)?,
            encoding: row.try_get(4)?,
            synchronous_standbys: row.try_get(5)?,
        })
    }

    /// Refuses a server that may lose what it has committed, or that this does not work with.
    pub(super) fn judge(&self, database: &str) -> Result<(), PostgresError> {
        let refused = |setting, value: &str, need| {
            Err(PostgresError::Setting {
                database: database.to_owned(),
                setting,
                value: value.to_owned(),
                need,
            })
        };
        if self.version < OLDEST {
            let version = self.version.to_string();
            return refused("server_version_num", &version, "PostgreSQL 15 or later is needed");
        }
        if self.fsync != "on" {
            return refused(
                "fsync",
                &self.fsync,
                "what is acknowledged would be lost with the machine: set fsync = on on the server",
            );
        }
        if self.full_page_writes != "on" {
            return refused(
                "full_page_writes",
                &self.full_page_writes,
                "a crash could damage the tables: set full_page_writes = on on the server",
            );
        }
        // The session has set it; a server may forbid that by a trigger or a proxy of its own.
        if !is_durable(&self.synchronous_commit) {
            return refused(
                "synchronous_commit",
                &self.synchronous_commit,
                "what is acknowledged could be lost: let the role set it to on, or set it so on the server",
            );
        }
        if self.encoding != "UTF8" {
            return refused("server_encoding", &self.encoding, "UTF8 is needed: create the database with it");
        }
        Ok(())
    }

    /// Whether a commit waits for a second machine.
    pub(super) fn has_synchronous_standby(&self) -> bool {
        !self.synchronous_standbys.trim().is_empty()
    }
}

/// Whether a commit under this setting is on the server's disk when it is confirmed
/// (<https://www.postgresql.org/docs/current/runtime-config-wal.html#GUC-SYNCHRONOUS-COMMIT>).
fn is_durable(synchronous_commit: &str) -> bool {
    ["on", "remote_apply"].contains(&synchronous_commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Settings {
        Settings {
            version: 150_018,
            fsync: "on".to_owned(),
            full_page_writes: "on".to_owned(),
            synchronous_commit: "on".to_owned(),
            encoding: "UTF8".to_owned(),
            synchronous_standbys: String::new(),
        }
    }

    #[test]
    fn a_server_that_may_lose_what_it_has_committed_is_refused() {
        assert_eq!(good().judge("db"), Ok(()));
        let applies = Settings { synchronous_commit: "remote_apply".to_owned(), ..good() };
        assert_eq!(applies.judge("db"), Ok(()));
        let text = |text: &str| text.to_owned();
        for (settings, says) in [
            (Settings { version: 149_999, ..good() }, "PostgreSQL 15"),
            (Settings { fsync: text("off"), ..good() }, "fsync = on"),
            (Settings { full_page_writes: text("off"), ..good() }, "full_page_writes = on"),
            (Settings { synchronous_commit: text("off"), ..good() }, "could be lost"),
            (Settings { synchronous_commit: text("local"), ..good() }, "could be lost"),
            (Settings { synchronous_commit: text("remote_write"), ..good() }, "could be lost"),
            (Settings { encoding: text("SQL_ASCII"), ..good() }, "UTF8"),
        ] {
            let error = settings.judge("db").unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("db"), "{error}");
        }
    }
}
