//! Real PostgreSQL servers, started by the tests and ended with them. Included by both test binaries.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Generous: only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The role that stores log in as; it owns their databases and is no superuser.
pub const ROLE: &str = "keeper";

/// Its password.
pub const PASSWORD: &str = "canary-database-password";

/// Ends the server when standard input ends: that happens however the tests end. Then removes the folder, if
/// it is given one.
const KEEPER: &str = r#"
exec 3<&0 2>/dev/null
remove=$1 log=$2
shift 2
"$@" </dev/null >>"$log" 2>&1 3<&- &
server=$!
{ cat <&3; kill -QUIT "$server"; } >/dev/null 2>&1 &
watch=$!
echo "$server"
wait "$server"
status=$?
kill "$watch"
[ -z "$remove" ] || rm -rf "$remove"
exit "$status"
"#;

/// The folder of PostgreSQL's programs.
fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        if let Some(folder) = std::env::var_os("HOOKKEEPER_TEST_POSTGRES") {
            return folder.into();
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/postgres");
        let output = Command::new("bash").arg(script).arg("--installed").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().into()
    })
}

/// A command of somebody whom PostgreSQL's programs run for: they refuse root.
fn as_nobody(program: &str) -> Command {
    let program = programs().join(program);
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user(), "--regid", user(), "--clear-groups", "--"]).arg(program);
    command
}

/// The user that Debian's package brings, or one that every system has.
fn user() -> &'static str {
    static USER: OnceLock<&'static str> = OnceLock::new();
    USER.get_or_init(|| {
        let users = std::fs::read_to_string("/etc/passwd").unwrap();
        if users.lines().any(|line| line.starts_with("postgres:")) { "postgres" } else { "nobody" }
    })
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// The one server that most tests of a process share, each with a database of its own.
pub fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    // Nothing static is ever dropped.
    SHARED.get_or_init(|| Server::made(&[], |_| (), true, &[]))
}

/// A server with a folder and a port of its own.
pub struct Server {
    folder: PathBuf,
    pub port: u16,
    settings: Vec<String>,
    removes_itself: bool,
    /// What it is started through.
    through: Vec<String>,
    running: Mutex<Option<Running>>,
}

struct Running {
    keeper: Child,
    pid: rustix::process::Pid,
}

impl Server {
    /// Makes one with these settings, such as `ssl=on`.
    pub fn start(settings: &[&str]) -> Self {
        Self::start_with(settings, |_| ())
    }

    /// The same; `prepare` is given its folder of data before it is started.
    pub fn start_with(settings: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        Self::made(settings, prepare, false, &[])
    }

    /// One that has a small disk at `small` in its folder, which only it sees.
    pub fn with_small_disk(size: &str) -> Self {
        let unshare: &[&str] = if rustix::process::geteuid().is_root() {
            &["unshare", "--mount"]
        } else {
            &["unshare", "--mount", "--user", "--map-current-user", "--keep-caps"]
        };
        let script = format!(
            r#"mkdir -p small && mount -t tmpfs -o size={size},mode=777 small small && mkdir small/space &&
               chown --reference=data small/space && chmod 700 small/space && exec "$@""#
        );
        let through: Vec<&str> = unshare.iter().copied().chain(["sh", "-c", &script, "sh"]).collect();
        Self::made(&[], |_| (), false, &through)
    }

    fn made(settings: &[&str], prepare: impl FnOnce(&Path), removes_itself: bool, through: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("hookkeeper-postgres").tempdir().unwrap().keep();
        std::fs::create_dir(folder.join("data")).unwrap();
        give_away(&folder);
        std::fs::write(folder.join("password"), "a superuser's password").unwrap();
        run(as_nobody("initdb")
            .arg("--pgdata")
            .arg(folder.join("data"))
            .arg("--pwfile")
            .arg(folder.join("password"))
            .args(["--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .args(["--auth-local=trust", "--auth-host=scram-sha-256"])
            .current_dir(&folder));
        prepare(&folder.join("data"));
        give_away(&folder);
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let through = through.iter().map(|word| (*word).to_owned()).collect();
        let server =
            Self { folder, port: free_port(), settings, removes_itself, through, running: Mutex::new(None) };
        server.start_again();
        server.sql("postgres", &format!("CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'"));
        server
    }

    /// Starts it after it was ended, and waits until it answers.
    pub fn start_again(&self) {
        self.launch();
        self.until_it_answers();
    }

    fn launch(&self) {
        let mut settings = vec![
            "fsync=on".to_owned(),
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", self.folder.display()),
            "max_connections=300".to_owned(),
            "shared_buffers=64MB".to_owned(),
        ];
        settings.extend(self.settings.iter().cloned());
        let server = as_nobody("postgres");
        let mut command = Command::new("sh");
        command
            .args(["-c", KEEPER, "sh"])
            .arg(if self.removes_itself { self.folder.as_path() } else { Path::new("") })
            .arg(self.folder.join("log"))
            .args(&self.through)
            .arg(server.get_program())
            .args(server.get_args())
            .arg("-D")
            .arg(self.folder.join("data"));
        for setting in settings {
            command.arg("-c").arg(setting);
        }
        // An interrupt from the terminal ends the tests, and by that the server.
        command.process_group(0).current_dir(&self.folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = rustix::process::Pid::from_raw(line.trim().parse().unwrap()).unwrap();
        *self.running.lock().unwrap() = Some(Running { keeper, pid });
    }

    fn until_it_answers(&self) {
        let begun = Instant::now();
        while self.ask("postgres", "SELECT 1").is_err() {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "it does not answer: {log}");
            // What a server that was killed has left behind may still be ending.
            let has_ended = |running: &mut Running| running.keeper.try_wait().unwrap().is_some();
            if self.running.lock().unwrap().as_mut().is_some_and(has_ended) {
                self.launch();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `kill -9` of the server; its processes end with it.
    pub fn kill(&self) {
        self.end(rustix::process::Signal::KILL);
    }

    /// Ends it as an administrator does who waits for nobody.
    pub fn stop(&self) {
        self.end(rustix::process::Signal::INT);
    }

    /// It does nothing until it gets `Signal::CONT`.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let running = self.running.lock().unwrap();
        rustix::process::kill_process(running.as_ref().unwrap().pid, signal).unwrap();
    }

    fn end(&self, signal: rustix::process::Signal) {
        self.signal(signal);
        let mut running = self.running.lock().unwrap().take().unwrap();
        drop(running.keeper.stdin.take());
        running.keeper.wait().unwrap();
        // What it leaves behind would keep the next one from starting.
        let begun = Instant::now();
        while TcpListener::bind(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "its port stays in use");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What an administrator does; the rows, one in each line.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.ask(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// In a thread of its own, so that it can be called from everywhere; and not by `psql`: between the two steps
    /// of starting a program it holds what other tests have locked.
    fn ask(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.folder).port(self.port).user("postgres").dbname(database);
        let asking = async {
            let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
            let connection = tokio::spawn(connection);
            let messages = client.simple_query(sql).await?;
            drop(client);
            let _ = connection.await;
            Ok::<_, tokio_postgres::Error>(messages)
        };
        let messages = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(asking)
            });
            thread.join().unwrap()
        });
        let mut lines = Vec::new();
        for message in messages.map_err(|error| format!("{error} {:?}", error.as_db_error()))? {
            if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                let columns = (0..row.len()).map(|column| row.get(column).unwrap_or_default());
                lines.push(columns.collect::<Vec<_>>().join("|"));
            }
        }
        Ok(lines.join("\n"))
    }

    /// A new database, which [`ROLE`] owns.
    pub fn database(&self) -> String {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let name = format!("test{}", LAST.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {ROLE}"));
        name
    }

    /// What `--database` is given for one.
    pub fn address(&self, database: &str) -> String {
        format!("127.0.0.1:{}/{database}", self.port)
    }

    /// A path below its folder, as the server sees it.
    pub fn path(&self, name: &str) -> PathBuf {
        let pid = self.running.lock().unwrap().as_ref().unwrap().pid.as_raw_nonzero();
        PathBuf::from(format!("/proc/{pid}/root{}", self.folder.join(name).display()))
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.lock().unwrap().take() {
            drop(running.keeper.stdin.take());
            let _ = running.keeper.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The folder belongs to the user that the server runs as.
fn give_away(folder: &Path) {
    if rustix::process::geteuid().is_root() {
        run(Command::new("chown").args(["-R", &format!("{0}:{0}", user())]).arg(folder));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
