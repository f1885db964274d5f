//! Programs that are started for this, what they cost, and their end.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::client;

/// How long a program may take to be ready or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// In what Linux counts the CPU time of processes, on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// A program that runs; it ends when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ends_by: Signal,
}

impl Process {
    /// Starts a program; what it says goes into a file in this folder.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Self, String> {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().map_err(|error| format!("{name} cannot be started: {error}"))?;
        Ok(Self { name: name.to_owned(), child, log, ends_by: Signal::TERM })
    }

    /// It ends in an orderly way by another signal than SIGTERM.
    pub fn ends_by(mut self, signal: Signal) -> Self {
        self.ends_by = signal;
        self
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it takes connections.
    pub fn listens(&mut self, address: SocketAddr) -> Result<(), String> {
        self.is_ready(|| TcpStream::connect(address).is_ok())
    }

    /// Waits until it answers 200.
    pub fn answers(&mut self, address: SocketAddr, path: &str) -> Result<(), String> {
        self.is_ready(|| matches!(client::get(address, path), Ok((200, _))))
    }

    fn is_ready(&mut self, look: impl Fn() -> bool) -> Result<(), String> {
        let begun = Instant::now();
        while !look() {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Err(format!("{} has ended ({status}): {}", self.name, self.last_words()));
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("{} is not ready after {PATIENCE:?}: {}", self.name, self.last_words()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let said = fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(5)..].join(" / ")
    }

    /// Sends a signal and waits for the end.
    pub fn end(&mut self, signal: Signal) {
        if self.child.try_wait().unwrap().is_some() {
            return;
        }
        let _ = kill_process(Pid::from_child(&self.child), signal);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if self.child.try_wait().unwrap().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        println!("{} does not end after {PATIENCE:?} and is killed", self.name);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Sends SIGKILL after this time, from another thread.
    pub fn killed_after(&self, time: Duration) -> std::thread::JoinHandle<()> {
        let id = Pid::from_child(&self.child);
        std::thread::spawn(move || {
            std::thread::sleep(time);
            let _ = kill_process(id, Signal::KILL);
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end(self.ends_by);
    }
}

/// An address on this machine that nothing listens on.
pub fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// CPU time of these programs so far, in seconds: user and system, of all that they have started.
pub fn cpu(processes: &[Process]) -> f64 {
    let all = every_process();
    let ticks = |id: &u32| {
        let stat = all.get(id);
        stat.map_or(0, |stat| [11, 12, 13, 14].iter().filter_map(|at| stat.get(*at)).sum())
    };
    family(processes, &all).iter().map(ticks).sum::<u64>() as f64 / TICKS_PER_SECOND
}

/// Memory of these programs and of all that they have started, in bytes; what several share counts once.
pub fn memory(processes: &[Process]) -> u64 {
    let share = |id: &u32| kilobytes(&format!("/proc/{id}/smaps_rollup"), "Pss:");
    family(processes, &every_process()).iter().filter_map(share).sum()
}

/// What of a process is resident, in bytes.
pub fn resident(id: u32) -> u64 {
    kilobytes(&format!("/proc/{id}/status"), "VmRSS:").unwrap_or(0)
}

/// The most of a process that ever was resident, in bytes.
pub fn peak(id: u32) -> u64 {
    kilobytes(&format!("/proc/{id}/status"), "VmHWM:").unwrap_or(0)
}

fn kilobytes(path: &str, field: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// What `/proc/ID/stat` has after the name, for every process; words count as zero.
fn every_process() -> BTreeMap<u32, Vec<u64>> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    entries
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let (_, fields) = stat.rsplit_once(')')?;
            Some((id, fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect()))
        })
        .collect()
}

/// These processes and all that they have started.
fn family(processes: &[Process], all: &BTreeMap<u32, Vec<u64>>) -> Vec<u32> {
    let mut family: Vec<u32> = processes.iter().map(Process::id).collect();
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        let is_child = |stat: &Vec<u64>| stat.get(1) == Some(&u64::from(parent));
        family.extend(all.iter().filter(|(_, stat)| is_child(stat)).map(|(id, _)| *id));
        at += 1;
    }
    family
}
