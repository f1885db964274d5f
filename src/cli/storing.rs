//! Which store a gate has: a folder, or a database that several gates share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tracing::warn;

use super::serve::beat;
use crate::ops::health::{Awaited, Heartbeat};
use crate::ops::shutdown::Shutdown;
use crate::secret::SecretText;
use crate::store::seal::{MasterKey, Sealer};
use crate::store::{
    Database, DatabaseTls, PostgresError, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore, Store,
};

/// When a database that does not answer at the start is tried again; each further wait is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How the way to the database is made safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TlsMode {
    /// TLS, with a certificate for the host of --database from an authority of --database-ca-file.
    VerifyFull,
    /// None: for a server on this machine.
    Disable,
}

/// Arguments about a database.
#[derive(Clone, Debug, clap::Args)]
pub struct DatabaseArgs {
    /// Keep what was acknowledged in this PostgreSQL database, which several gates may share, instead of a folder:
    /// HOST[:PORT]/NAME, or postgres://USER@HOST[:PORT]/NAME. Never with a password.
    #[arg(long, value_name = "HOST[:PORT]/NAME", value_parser = unparsed, group = "store")]
    pub database: Option<SecretText>,
    /// File with the name of the role to log in as; read again for each new connection.
    #[arg(long, value_name = "FILE", requires = "database")]
    pub database_user_file: Option<PathBuf>,
    /// File with its password; read again for each new connection.
    #[arg(long, value_name = "FILE", requires = "database")]
    pub database_password_file: Option<PathBuf>,
    /// Authorities (PEM) that may have signed the certificate of the database; those of the system without it.
    #[arg(long, value_name = "FILE", requires = "database")]
    pub database_ca_file: Option<PathBuf>,
    /// How the way to the database is made safe.
    #[arg(long, value_name = "MODE", value_enum, default_value = "verify-full")]
    pub database_tls: TlsMode,
    /// Most connections to the database.
    #[arg(long, value_name = "NUMBER", default_value = "8", value_parser = clap::value_parser!(u16).range(2..=100))]
    pub database_connections: u16,
}

impl Default for DatabaseArgs {
    /// No database.
    fn default() -> Self {
        Self {
            database: None,
            database_user_file: None,
            database_password_file: None,
            database_ca_file: None,
            database_tls: TlsMode::VerifyFull,
            database_connections: 8,
        }
    }
}

/// What is wrong with it is said without repeating it: it may hold a password.
fn unparsed(text: &str) -> Result<SecretText, std::convert::Infallible> {
    Ok(SecretText::from(text))
}

/// Arguments about where a gate keeps what it took in.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct StoreArgs {
    /// What a gate takes whose store is a database.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Seal what is stored with the key in this file: 32 bytes, as they are or as base64 or hex. Given
    /// twice, the first one seals and both open: that is how a key is changed.
    #[arg(long, value_name = "FILE")]
    pub data_key_file: Vec<PathBuf>,
    /// Use a folder that may vanish with the machine or the container, such as a tmpfs.
    #[arg(long)]
    pub data_may_vanish: bool,
}

/// Opens the store, before anything else is done with it: that of the database, or that of the folder. What it
/// waits for is said by `starting`.
///
/// # Errors
/// When it cannot be used, and when the process is asked to end while the database does not answer.
pub(super) async fn open(
    args: &StoreArgs,
    data: Option<PathBuf>,
    starting: &Awaited,
    shutdown: &Shutdown,
) -> anyhow::Result<Arc<dyn Store>> {
    starting.says("the store is not open yet");
    match (&args.database.database, data) {
        (Some(_), Some(_)) => bail!("give either --data or --database: a gate has one store"),
        (None, None) => bail!("give --data, a folder for what was acknowledged, or --database"),
        (None, Some(folder)) => {
            let (may_vanish, sealer) = (args.data_may_vanish, sealer(&args.data_key_file)?);
            let options = SqliteOptions { may_vanish, sealer, ..SqliteOptions::new(folder) };
            let opened = tokio::task::spawn_blocking(move || SqliteStore::open(options)).await?;
            Ok(Arc::new(opened?))
        }
        (Some(_), None) if args.data_may_vanish => {
            bail!("--data-may-vanish is about a folder of --data, and there is none with --database")
        }
        (Some(text), None) => database(args, text, starting, shutdown).await,
    }
}

/// The same while the process shows that it lives. A database that is away is waited for as long as that takes:
/// a process that is started again meanwhile would find it no sooner.
///
/// # Errors
/// Those of [`open`].
pub(super) async fn open_alive(
    args: &StoreArgs,
    data: Option<PathBuf>,
    starting: &Awaited,
    heartbeat: &Heartbeat,
    shutdown: &Shutdown,
) -> anyhow::Result<Arc<dyn Store>> {
    tokio::select! {
        opened = open(args, data, starting, shutdown) => opened,
        never = beat(heartbeat) => match never {},
    }
}

fn sealer(files: &[PathBuf]) -> anyhow::Result<Option<Sealer>> {
    if files.len() > 2 {
        bail!("--data-key-file is given at most twice: the key that seals, and the one before it");
    }
    let keys: Result<Vec<_>, _> = files.iter().map(|path| MasterKey::read(path)).collect();
    let mut keys = keys?.into_iter();
    Ok(keys.next().map(|first| Sealer::new(first, keys.next())))
}

async fn database(
    args: &StoreArgs,
    text: &SecretText,
    starting: &Awaited,
    shutdown: &Shutdown,
) -> anyhow::Result<Arc<dyn Store>> {
    let DatabaseArgs { database_ca_file, database_tls, database_connections, .. } = &args.database;
    let database: Database = text.expose().parse().context("--database names no database")?;
    let tls = match database_tls {
        TlsMode::VerifyFull => DatabaseTls::VerifyFull { issuers: database_ca_file.clone() },
        TlsMode::Disable if database_ca_file.is_some() => {
            bail!(
                "--database-ca-file says who may sign the certificate of the database, and there is none \
                   with --database-tls disable"
            )
        }
        TlsMode::Disable => DatabaseTls::Disable,
    };
    if tls == DatabaseTls::Disable && !database.is_local() {
        warn!(
            %database,
            "--database-tls disable: the password and all deliveries go to the database in clear, for everybody \
             on the way to read and to change"
        );
    }
    let mut wait = FIRST_WAIT;
    loop {
        let options = PostgresOptions {
            user_file: args.database.database_user_file.clone(),
            password_file: args.database.database_password_file.clone(),
            tls: tls.clone(),
            connections: usize::from(*database_connections),
            sealer: sealer(&args.data_key_file)?,
            ..PostgresOptions::new(database.clone())
        };
        let opened = tokio::select! {
            biased;
            () = shutdown.asked() => bail!("asked to end before the database answered"),
            opened = PostgresStore::open(options) => opened,
        };
        match opened {
            Ok(store) => return Ok(Arc::new(store)),
            Err(error @ PostgresError::Away { .. }) => {
                starting.says(format!("{error}; it is tried again until it does"));
                warn!("{error}; tried again in {} s", wait.as_secs());
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            biased;
            () = shutdown.asked() => bail!("asked to end before the database answered"),
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
