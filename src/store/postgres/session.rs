//! One connection to the database, and what is asked of it.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::{try_join, try_join_all};
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::error::Trouble;

/// How long an answer may take. Longer than the server itself would take until it gives up: this is for a
/// server that is gone without a word.
const ANSWER: Duration = Duration::from_secs(8);

/// Values of a statement.
pub(super) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// One connection.
pub(super) struct Session {
    /// When it is dropped the connection says goodbye, and the server takes back what was not committed.
    pub(super) client: Client,
    statements: HashMap<&'static str, Statement>,
    /// A transaction is open in it, or nobody knows.
    pub(super) is_in_doubt: bool,
}

impl Session {
    pub(super) fn new(client: Client) -> Self {
        Self { client, statements: HashMap::new(), is_in_doubt: false }
    }

    /// Whether others may use it.
    pub(super) fn is_usable(&self) -> bool {
        !self.is_in_doubt && !self.client.is_closed()
    }

    /// The statement, prepared once for each connection.
    pub(super) async fn prepare(&mut self, sql: &'static str) -> Result<Statement, Trouble> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = in_time(self.client.prepare(sql)).await?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    /// The rows of a query.
    pub(super) async fn query(&mut self, sql: &'static str, values: Values<'_>) -> Result<Vec<Row>, Trouble> {
        let statement = self.prepare(sql).await?;
        in_time(self.client.query(&statement, values)).await
    }

    /// The row of a query, if there is one.
    pub(super) async fn query_opt(
        &mut self,
        sql: &'static str,
        values: Values<'_>,
    ) -> Result<Option<Row>, Trouble> {
        Ok(self.query(sql, values).await?.into_iter().next())
    }

    /// Does it; how many rows it was.
    pub(super) async fn execute(&mut self, sql: &'static str, values: Values<'_>) -> Result<u64, Trouble> {
        let statement = self.prepare(sql).await?;
        in_time(self.client.execute(&statement, values)).await
    }

    /// Statements without values.
    pub(super) async fn run(&self, sql: &str) -> Result<(), Trouble> {
        in_time(self.client.batch_execute(sql)).await
    }

    /// Opens a transaction.
    pub(super) async fn begin(&mut self) -> Result<(), Trouble> {
        self.is_in_doubt = true;
        self.run("BEGIN").await
    }

    /// Opens a transaction with a query, both on their way together.
    pub(super) async fn begin_with(
        &mut self,
        sql: &'static str,
        values: Values<'_>,
    ) -> Result<Vec<Row>, Trouble> {
        let statement = self.prepare(sql).await?;
        self.is_in_doubt = true;
        let both = try_join(self.client.batch_execute("BEGIN"), self.client.query(&statement, values));
        in_time(both).await.map(|((), rows)| rows)
    }

    /// Makes it durable. An error says that nobody knows whether it is, unless the server has refused it.
    pub(super) async fn commit(&mut self) -> Result<(), Trouble> {
        self.run("COMMIT").await?;
        self.is_in_doubt = false;
        Ok(())
    }

    /// Takes it back.
    pub(super) async fn roll_back(&mut self) -> Result<(), Trouble> {
        self.run("ROLLBACK").await?;
        self.is_in_doubt = false;
        Ok(())
    }

    /// What is left after a part of a transaction: an error takes it back, if that can be.
    pub(super) async fn settled<T>(&mut self, done: Result<T, Trouble>) -> Result<T, Trouble> {
        match done {
            Ok(value) => {
                self.commit().await?;
                Ok(value)
            }
            Err(trouble) => {
                if trouble.leaves_session() {
                    // Otherwise the session is not used again, which takes it back as well.
                    let _ = self.roll_back().await;
                }
                Err(trouble)
            }
        }
    }
}

/// Statements that are on their way together: none of them waits for the answer of another one.
#[derive(Default)]
pub(super) struct Together<'a> {
    statements: Vec<(&'static str, Vec<Value<'a>>)>,
}

/// A value that is kept until its statement is sent.
pub(super) type Value<'a> = Box<dyn ToSql + Sync + Send + 'a>;

impl<'a> Together<'a> {
    pub(super) fn add(&mut self, sql: &'static str, values: Vec<Value<'a>>) {
        self.statements.push((sql, values));
    }

    /// Sends them in their order. Of several errors the first one is the cause of the others.
    pub(super) async fn execute(self, session: &mut Session) -> Result<(), Trouble> {
        let mut prepared = Vec::with_capacity(self.statements.len());
        for (sql, values) in &self.statements {
            let values: Vec<&(dyn ToSql + Sync)> =
                values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect();
            prepared.push((session.prepare(sql).await?, values));
        }
        let client = &session.client;
        let sent = prepared.iter().map(|(statement, values)| client.execute(statement, values));
        in_time(try_join_all(sent)).await.map(drop)
    }
}

/// With a limit for a server that does not answer any more.
pub(super) async fn in_time<T>(
    asking: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Trouble> {
    match timeout(ANSWER, asking).await {
        Ok(answer) => answer.map_err(Trouble::from),
        Err(_) => Err(Trouble::late()),
    }
}
