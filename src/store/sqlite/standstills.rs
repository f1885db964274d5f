//! When receivers stood still.

use super::engine::Engine;
use crate::store::Standstill;
use crate::store::columns::{micros, time};

impl Engine {
    pub(super) fn standstills(&self, uid: &str) -> rusqlite::Result<Vec<Standstill>> {
        self.connection
            .prepare_cached("SELECT began, ended FROM standstills WHERE uid = ?1 ORDER BY began")?
            .query_map([uid], |row| {
                let ended: Option<i64> = row.get(1)?;
                Ok(Standstill { began: time(row.get(0)?), ended: ended.map(time) })
            })?
            .collect()
    }

    pub(super) fn set_standstills(&self, uid: &str, standstills: &[Standstill]) -> rusqlite::Result<()> {
        self.connection.prepare_cached("DELETE FROM standstills WHERE uid = ?1")?.execute([uid])?;
        let mut insert = self
            .connection
            .prepare_cached("INSERT OR REPLACE INTO standstills (uid, began, ended) VALUES (?1, ?2, ?3)")?;
        for Standstill { began, ended } in standstills {
            insert.execute((uid, micros(*began), ended.map(micros)))?;
        }
        Ok(())
    }
}
