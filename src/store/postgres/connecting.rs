//! Making a connection: who we are, how it is made safe, and when it is tried again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::time::{Instant, timeout};
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use zeroize::Zeroizing;

use super::database::{Database, Place};
use super::error::{PostgresError, Trouble, chain, is_of_tls};
use super::session::Session;
use super::settings::{QUERY, Settings};

/// How long one server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// How long the whole of it may take, logging in included.
const LOGIN: Duration = Duration::from_secs(15);

/// When the first connection that fails is tried again; each further wait is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// How a session is set. Nobody waits long for a row that somebody else holds, and whoever holds rows and
/// says nothing any more loses them. Plans do not depend on how many rows a table had when it was last
/// counted: all that is asked for is found by an index. So a statement is planned once for each session, and not
/// for each batch, which took longer than doing it.
const SET_UP: &str = "SET search_path TO hookkeeper; SET lock_timeout TO '2s'; SET statement_timeout TO '5s';
     SET idle_in_transaction_session_timeout TO '5s'; SET default_transaction_isolation TO 'read committed';
     SET enable_seqscan TO off; SET enable_bitmapscan TO off; SET jit TO off;
     SET plan_cache_mode TO force_generic_plan; SET client_min_messages TO warning";

/// How the way to the database is made safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseTls {
    /// TLS, with a certificate for the host that `--database` names, signed by an authority of this file, or
    /// of the system.
    VerifyFull {
        /// A file with certificates (PEM), read for each new connection.
        issuers: Option<PathBuf>,
    },
    /// None: whoever is on the way reads and changes everything.
    Disable,
}

/// Makes connections.
pub(super) struct Connector {
    pub(super) database: Database,
    pub(super) user_file: Option<PathBuf>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) tls: DatabaseTls,
    trouble: Mutex<Waiting>,
}

/// What happened when it was tried last.
#[derive(Default)]
struct Waiting {
    failures: u32,
    until: Option<Instant>,
    problem: String,
}

impl Connector {
    pub(super) fn new(
        database: Database,
        user_file: Option<PathBuf>,
        password_file: Option<PathBuf>,
        tls: DatabaseTls,
    ) -> Self {
        Self { database, user_file, password_file, tls, trouble: Mutex::default() }
    }

    /// A new session. While the database is away it is tried now and then, and who asks between is told at
    /// once.
    pub(super) async fn connect(&self) -> Result<Session, Trouble> {
        if let Some(problem) = self.still_away() {
            return Err(Trouble::Away(problem));
        }
        let connected = timeout(LOGIN, self.try_to_connect()).await.unwrap_or_else(|_| Err(Trouble::late()));
        match connected {
            Ok((session, _)) => {
                self.came_back();
                Ok(session)
            }
            Err(trouble) => {
                self.failed(&trouble);
                Err(trouble)
            }
        }
    }

    /// The first session, and how the server is set.
    pub(super) async fn first(&self) -> Result<(Session, Settings), PostgresError> {
        let connected = timeout(LOGIN, self.try_to_connect()).await.unwrap_or_else(|_| Err(Trouble::late()));
        connected.map_err(|trouble| PostgresError::of(&self.database.to_string(), trouble))
    }

    async fn try_to_connect(&self) -> Result<(Session, Settings), Trouble> {
        let config = self.config().await?;
        let client = match self.issuers() {
            None => {
                let (client, connection) = config.connect(NoTls).await.map_err(|error| self.cannot(error))?;
                tokio::spawn(told(connection));
                client
            }
            Some(issuers) => {
                let tls = MakeRustlsConnect::new(tls(issuers).await?);
                let (client, connection) = config.connect(tls).await.map_err(|error| self.cannot(error))?;
                tokio::spawn(told(connection));
                client
            }
        };
        let session = Session::new(client);
        let settings = set_up(&session.client).await?;
        settings.judge(&self.database.to_string()).map_err(|error| Trouble::Open(Box::new(error)))?;
        Ok((session, settings))
    }

    /// Who may have signed the server's certificate; `None` without TLS. Nobody is on the way to a socket.
    fn issuers(&self) -> Option<Option<&Path>> {
        match (&self.tls, &self.database.place) {
            (DatabaseTls::Disable, _) | (_, Place::Socket(..)) => None,
            (DatabaseTls::VerifyFull { issuers }, Place::Hosts(_)) => Some(issuers.as_deref()),
        }
    }

    fn cannot(&self, error: tokio_postgres::Error) -> Trouble {
        if is_of_tls(&error) {
            let (database, problem) = (self.database.to_string(), chain(&error));
            return Trouble::Open(Box::new(PostgresError::Tls { database, problem }));
        }
        error.into()
    }

    async fn config(&self) -> Result<Config, Trouble> {
        let mut config = Config::new();
        match &self.database.place {
            Place::Socket(folder, port) => {
                config.host_path(folder).port(*port);
            }
            Place::Hosts(hosts) => {
                for (host, port) in hosts {
                    config.host(host).port(*port);
                }
            }
        }
        let user = match &self.user_file {
            Some(path) => Some(text("--database-user-file", path).await?),
            None => self.database.user.clone().map(Zeroizing::new),
        };
        let Some(user) = user else {
            let database = self.database.to_string();
            return Err(Trouble::Open(Box::new(PostgresError::NoUser { database })));
        };
        if let Some(path) = &self.password_file {
            config.password(text("--database-password-file", path).await?.as_bytes());
        }
        config
            .user(user.as_str())
            .dbname(&self.database.name)
            .application_name("hookkeeper")
            .connect_timeout(CONNECT)
            .tcp_user_timeout(Duration::from_secs(10))
            .keepalives_idle(Duration::from_secs(15))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(2)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .ssl_mode(if self.issuers().is_some() { SslMode::Require } else { SslMode::Disable });
        Ok(config)
    }

    fn still_away(&self) -> Option<String> {
        let waiting = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.until.filter(|until| *until > Instant::now()).map(|_| waiting.problem.clone())
    }

    fn failed(&self, trouble: &Trouble) {
        let problem = trouble.meaning().to_string();
        let mut waiting = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.failures == 0 {
            tracing::warn!(database = %self.database, "no new connection: {problem}");
        }
        let wait = FIRST_WAIT.saturating_mul(1 << waiting.failures.min(10)).min(LONGEST_WAIT);
        waiting.failures = waiting.failures.saturating_add(1);
        waiting.until = Some(Instant::now() + wait);
        waiting.problem = problem;
    }

    fn came_back(&self) {
        let mut waiting = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.failures > 0 {
            tracing::info!(database = %self.database, "the database answers again");
        }
        *waiting = Waiting::default();
    }
}

/// Runs a connection to its end; who uses it sees its errors.
async fn told(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        tracing::debug!(error = %chain(&error), "a connection to the database has ended");
    }
}

async fn set_up(client: &Client) -> Result<Settings, Trouble> {
    client.batch_execute(SET_UP).await?;
    let settings = Settings::of(&client.query_one(QUERY, &[]).await?)?;
    if ["off", "local", "remote_write"].contains(&settings.synchronous_commit.as_str()) {
        client.batch_execute("SET synchronous_commit TO on").await?;
        return Ok(Settings::of(&client.query_one(QUERY, &[]).await?)?);
    }
    Ok(settings)
}

/// What a file holds, without the line break after it.
async fn text(flag: &'static str, path: &Path) -> Result<Zeroizing<String>, Trouble> {
    let failed = |problem: String| {
        Trouble::Open(Box::new(PostgresError::File { flag, path: path.to_owned(), problem }))
    };
    let bytes = read(path).await.map_err(failed)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("holds no UTF-8 text".to_owned()))?;
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if text.is_empty() || text.contains('\0') {
        return Err(failed("is empty, or holds a zero byte".to_owned()));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

async fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let path = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        use std::io::Read;
        let mut bytes = Zeroizing::new(Vec::new());
        std::fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    });
    let bytes = match reading.await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return Err(format!("cannot be read ({error})")),
        Err(_) => return Err("cannot be read".to_owned()),
    };
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= LARGEST => Ok(bytes),
        _ => Err("is larger than 1 MiB".to_owned()),
    }
}

async fn tls(issuers: Option<&Path>) -> Result<ClientConfig, Trouble> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Trouble::Away(error.to_string()))?;
    let Some(path) = issuers else {
        let config = tokio::task::spawn_blocking(|| config.with_platform_verifier()).await;
        let unread = |problem: String| {
            Trouble::Away(format!("the authorities of the system cannot be read: {problem}"))
        };
        let config = config.map_err(|error| unread(error.to_string()))?;
        return Ok(config.map_err(|error| unread(error.to_string()))?.with_no_client_auth());
    };
    let failed = |problem: String| {
        let flag = "--database-ca-file";
        Trouble::Open(Box::new(PostgresError::File { flag, path: path.to_owned(), problem }))
    };
    let bytes = read(path).await.map_err(failed)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let added =
            certificate.map_err(|_| ()).and_then(|certificate| roots.add(certificate).map_err(|_| ()));
        added.map_err(|()| failed("holds a certificate that cannot be read".to_owned()))?;
    }
    if roots.is_empty() {
        return Err(failed("holds no certificate (-----BEGIN CERTIFICATE-----)".to_owned()));
    }
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
