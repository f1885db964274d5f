//! What people put there today, each with the settings that suit it best.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::deliveries::{SECRET, SIGNATURE};
use crate::process::{Process, free_address};
use crate::subject::{Place, Running, Subject};

/// Connections to PostgreSQL. With this many, and one process of uvicorn, two cores got through the most.
const DATABASE_CONNECTIONS: u32 = 20;

pub fn subjects() -> Vec<Subject> {
    vec![
        Subject {
            name: "nginx",
            title: "nginx, plain proxy",
            less: "verifies nothing, keeps nothing: while the application is away, deliveries are the platform's to repeat",
            hands_on: true,
            start: nginx,
        },
        Subject {
            name: "webhook",
            title: "webhook (Debian), running /bin/true",
            less: "verifies the signature; answers before the command has run, keeps nothing, repeats nothing",
            hands_on: false,
            start: webhook,
        },
        Subject {
            name: "express-always",
            title: "Express, BullMQ, Redis (appendfsync always)",
            less: "verifies the signature, keeps, hands on with retries; does not know repetitions; all that waits is in memory",
            hands_on: true,
            start: |place| express(place, "always"),
        },
        Subject {
            name: "express-everysec",
            title: "Express, BullMQ, Redis (appendfsync everysec)",
            less: "as above, and loses up to a second of acknowledged deliveries when the machine stops",
            hands_on: true,
            start: |place| express(place, "everysec"),
        },
        Subject {
            name: "fastapi",
            title: "FastAPI, one insert into PostgreSQL",
            less: "verifies the signature, keeps, knows repetitions; hands nothing on",
            hands_on: false,
            start: fastapi,
        },
    ]
}

/// Installs a peer if it is missing; returns its folder, or why it cannot be had.
fn install(name: &str) -> Result<PathBuf, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/benches/peers/install");
    let output = Command::new("bash").arg(script).arg(name).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// A file of a peer in this repository.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/benches/peers").join(name)
}

/// A program out of Debian's packages, with the libraries that came with it.
fn unpacked(folder: &Path, program: &str) -> Command {
    let mut command = Command::new(folder.join(program));
    let libraries = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    command.env("LD_LIBRARY_PATH", folder.join(libraries));
    command
}

fn nginx(place: &Place) -> Result<Running, String> {
    let installed = install("nginx")?;
    let address = free_address();
    let folder = place.folder.display();
    // Whoever runs this owns the folder.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let configuration = format!(
        "\
daemon off;
{user}
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  upstream application {{
    server {};
    keepalive 256;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {address};
    location / {{
      proxy_pass http://application;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
    }}
  }}
}}
",
        place.application
    );
    let path = place.folder.join("nginx.conf");
    fs::write(&path, configuration).unwrap();
    let mut command = unpacked(&installed, "usr/sbin/nginx");
    command.arg("-c").arg(path).arg("-e").arg(place.folder.join("nginx-error.log"));
    let mut nginx = Process::start("nginx", &mut command, &place.folder)?;
    nginx.listens(address)?;
    Ok(Running { addresses: vec![address], processes: vec![nginx] })
}

fn webhook(place: &Place) -> Result<Running, String> {
    let installed = install("webhook")?;
    let address = free_address();
    let hooks = serde_json::json!([{
        "id": "deliveries",
        "execute-command": "/bin/true",
        "http-methods": ["POST"],
        "trigger-rule-mismatch-http-response-code": 401,
        "trigger-rule": {"match": {
            "type": "payload-hmac-sha256",
            "secret": SECRET,
            "parameter": {"source": "header", "name": SIGNATURE},
        }},
    }]);
    let path = place.folder.join("hooks.json");
    fs::write(&path, hooks.to_string()).unwrap();
    let mut command = unpacked(&installed, "usr/bin/webhook");
    command.arg("-hooks").arg(path).args(["-urlprefix", "bench", "-ip", "127.0.0.1"]);
    command.arg("-port").arg(address.port().to_string());
    let mut webhook = Process::start("webhook", &mut command, &place.folder)?;
    webhook.listens(address)?;
    Ok(Running { addresses: vec![address], processes: vec![webhook] })
}

fn express(place: &Place, fsync: &str) -> Result<Running, String> {
    let (redis, express) = (install("redis")?, install("express")?);
    let (address, database) = (free_address(), free_address());
    let data = place.folder.join("redis");
    fs::create_dir(&data).unwrap();
    let mut command = unpacked(&redis, "usr/bin/redis-server");
    command.arg("--port").arg(database.port().to_string()).args(["--bind", "127.0.0.1", "--save", ""]);
    command.args(["--appendonly", "yes", "--appendfsync", fsync, "--maxmemory-policy", "noeviction"]);
    command.arg("--dir").arg(data);
    let mut redis = Process::start("redis", &mut command, &place.folder)?;
    redis.listens(database)?;
    // One receiver and one worker: with more of them two cores got through less.
    let node = |script: &str| {
        let mut command = Command::new("node");
        command.arg(file("express").join(script));
        command.env("NODE_ENV", "production").env("NODE_PATH", express.join("node_modules"));
        command.env("REDIS_PORT", database.port().to_string());
        command
    };
    let mut command = node("receiver.js");
    command.env("PORT", address.port().to_string()).env("SECRET", SECRET);
    let mut receiver = Process::start("receiver", &mut command, &place.folder)?;
    receiver.listens(address)?;
    let mut command = node("worker.js");
    command.env("APPLICATION", format!("http://{}/", place.application));
    let worker = Process::start("worker", &mut command, &place.folder)?;
    Ok(Running { addresses: vec![address], processes: vec![receiver, worker, redis] })
}

fn fastapi(place: &Place) -> Result<Running, String> {
    let (postgresql, fastapi) = (install("postgresql")?, install("fastapi")?);
    let (address, database) = (free_address(), free_address());
    let server = postgresql_server(place, &postgresql, database.port())?;
    let url = format!("postgresql://bench@{database}/postgres");
    let python = |arguments: &[&str]| {
        let mut command = Command::new(fastapi.join("bin/python"));
        command.args(arguments).env("DATABASE", &url).env("SECRET", SECRET);
        command.env("CONNECTIONS", DATABASE_CONNECTIONS.to_string()).env("PYTHONDONTWRITEBYTECODE", "1");
        command.current_dir(file("fastapi"));
        command
    };
    let made = python(&["table.py"]).output().map_err(|error| error.to_string())?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into_owned());
    }
    let mut command = python(&["-m", "uvicorn", "receiver:app", "--host", "127.0.0.1", "--workers", "1"]);
    command.args(["--port", &address.port().to_string(), "--loop", "uvloop", "--http", "httptools"]);
    command.args(["--no-access-log", "--log-level", "warning", "--timeout-keep-alive", "75"]);
    let mut uvicorn = Process::start("uvicorn", &mut command, &place.folder)?;
    uvicorn.answers(address, "/ready")?;
    Ok(Running { addresses: vec![address], processes: vec![uvicorn, server] })
}

/// The same server for the gate.
pub fn postgresql(place: &Place, port: u16) -> Result<Process, String> {
    postgresql_server(place, &install("postgresql")?, port)
}

/// PostgreSQL with all that keeps what is committed, as a user of its own: it refuses root.
fn postgresql_server(place: &Place, installed: &Path, port: u16) -> Result<Process, String> {
    let user = if rustix::process::geteuid().is_root() { Some(unprivileged_user()?) } else { None };
    let owned = place.folder.join("postgresql");
    fs::create_dir(&owned).unwrap();
    // The other user may not reach the folder where programs are installed.
    let programs = if user.is_some() { copy(installed, &place.folder)? } else { installed.to_owned() };
    let programs = fs::read_dir(programs.join("usr/lib/postgresql")).map_err(|error| error.to_string())?;
    let programs = programs.filter_map(Result::ok).next().ok_or("PostgreSQL's package has no programs")?;
    let program = |name: &str| {
        let mut command = Command::new(programs.path().join("bin").join(name));
        command.current_dir(&owned).env_clear().env("PATH", "/usr/bin:/bin");
        if let Some((user, group)) = user {
            command.uid(user).gid(group);
        }
        command
    };
    if let Some((user, group)) = user {
        std::os::unix::fs::chown(&owned, Some(user), Some(group)).unwrap();
    }
    let data = owned.join("data");
    let mut made = program("initdb");
    made.arg("-D").arg(&data).args(["-U", "bench", "-A", "trust", "-E", "UTF8", "--no-locale"]);
    let made = made.output().map_err(|error| error.to_string())?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into_owned());
    }
    let mut command = program("postgres");
    command.arg("-D").arg(&data).arg("-p").arg(port.to_string());
    let settings = [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "fsync=on",
        "synchronous_commit=on",
        "shared_buffers=256MB",
        "max_wal_size=4GB",
        "wal_level=minimal",
        "max_wal_senders=0",
        "jit=off",
    ];
    for setting in settings {
        command.args(["-c", setting]);
    }
    let mut server = Process::start("postgresql", &mut command, &place.folder)?.ends_by(Signal::INT);
    let listening = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    server.listens(listening)?;
    Ok(server)
}

fn copy(from: &Path, into: &Path) -> Result<PathBuf, String> {
    let to = into.join("programs");
    let copied =
        Command::new("cp").arg("-r").arg(from).arg(&to).status().map_err(|error| error.to_string())?;
    if copied.success() { Ok(to) } else { Err(format!("{} cannot be copied", from.display())) }
}

/// User and group of `postgres`, else of `nobody`.
fn unprivileged_user() -> Result<(u32, u32), String> {
    let users = fs::read_to_string("/etc/passwd").map_err(|error| error.to_string())?;
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    find("postgres")
        .or_else(|| find("nobody"))
        .ok_or_else(|| "there is no user that PostgreSQL could run as".to_owned())
}
