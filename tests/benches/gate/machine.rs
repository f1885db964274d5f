//! What the figures depend on besides the programs.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

/// The machine, and how long its disk takes to keep something.
pub fn describe(folder: &Path) -> Value {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_default();
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let [median, late] = sync_time(folder);
    json!({
        "cores": cores,
        "processor": processor,
        "memory": memory,
        "kernel": kernel.trim(),
        "optimised": !cfg!(debug_assertions),
        "fsyncMilliseconds": {"p50": median, "p99": late},
    })
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

/// How long it takes to append 4 KiB and have them on the disk, in milliseconds: median and p99.
fn sync_time(folder: &Path) -> [f64; 2] {
    let path = folder.join("synced");
    let mut file = File::create(&path).unwrap();
    let mut times: Vec<f64> = (0..200)
        .map(|_| {
            let begun = Instant::now();
            file.write_all(&[1; 4096]).unwrap();
            file.sync_data().unwrap();
            begun.elapsed().as_secs_f64() * 1_000.0
        })
        .collect();
    fs::remove_file(path).unwrap();
    times.sort_unstable_by(f64::total_cmp);
    [times[times.len() / 2], times[times.len() * 99 / 100]]
}
