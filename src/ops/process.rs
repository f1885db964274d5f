//! The process's own figures, from `/proc/self` (Linux; elsewhere there are none).

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads the figures whenever metrics are asked for. Names are those of the Prometheus client
/// libraries' guidelines.
#[derive(Debug)]
pub(super) struct ProcessCollector {
    /// Seconds since the epoch, read once.
    start_time: Option<f64>,
}

/// Length of a clock tick in `/proc`: the kernel has reported hundredths to user space since 2.6
/// on every architecture (proc_pid_stat(5), `sysconf(_SC_CLK_TCK)`).
const TICKS_PER_SECOND: f64 = 100.0;

impl ProcessCollector {
    pub(super) fn new() -> Self {
        let start_time = || {
            let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
            let system = std::fs::read_to_string("/proc/stat").ok()?;
            let boot: f64 =
                system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
            Some(boot + field(&stat, 22)? / TICKS_PER_SECOND)
        };
        Self { start_time: start_time() }
    }
}

/// A field of `/proc/self/stat`, counted from 1 as proc_pid_stat(5) does. The second is the
/// program's name in parentheses, which may hold blanks.
fn field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

/// A memory figure of `/proc/self/status`, in bytes.
fn memory(status: &str, name: &str) -> Option<f64> {
    let kibibytes: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?
        .trim()
        .strip_suffix("kB")?
        .trim()
        .parse()
        .ok()?;
    Some(kibibytes * 1024.0)
}

fn open_files() -> Option<f64> {
    // One of them is the listing itself.
    let count = std::fs::read_dir("/proc/self/fd").ok()?.count();
    Some(f64::from(u32::try_from(count.saturating_sub(1)).ok()?))
}

fn most_open_files() -> Option<f64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let (Some(user), Some(system)) = (field(&stat, 14), field(&stat, 15)) {
            let seconds = ConstCounter::new((user + system) / TICKS_PER_SECOND);
            let help = "Processor time spent, user and system, in seconds";
            let encoder =
                encoder.encode_descriptor("process_cpu_seconds", help, None, seconds.metric_type())?;
            seconds.encode(encoder)?;
        }
        let runtime = tokio::runtime::Handle::try_current().ok();
        let runtime = runtime.as_ref().map(tokio::runtime::Handle::metrics);
        let number = |number: usize| u32::try_from(number).map(f64::from).ok();
        let gauges = [
            (
                "tokio_workers",
                "Worker threads of the runtime",
                runtime.as_ref().and_then(|runtime| number(runtime.num_workers())),
            ),
            (
                "tokio_alive_tasks",
                "Tasks that have not ended",
                runtime.as_ref().and_then(|runtime| number(runtime.num_alive_tasks())),
            ),
            (
                "tokio_global_queue_depth",
                "Tasks that wait for a worker",
                runtime.as_ref().and_then(|runtime| number(runtime.global_queue_depth())),
            ),
            ("process_resident_memory_bytes", "Memory held, in bytes", memory(&status, "VmRSS")),
            ("process_virtual_memory_bytes", "Address space, in bytes", memory(&status, "VmSize")),
            ("process_open_fds", "Open file descriptors", open_files()),
            ("process_max_fds", "Most file descriptors that may be open", most_open_files()),
            (
                "process_start_time_seconds",
                "Start of the process, in seconds since the epoch",
                self.start_time,
            ),
            ("process_threads", "Threads", field(&stat, 20)),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                let gauge = ConstGauge::new(value);
                let encoder = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
                gauge.encode(encoder)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_blanks_and_parentheses_shifts_nothing() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 1234 0";
        assert_eq!(field(stat, 14), Some(250.0));
        assert_eq!(field(stat, 15), Some(50.0));
        assert_eq!(field(stat, 20), Some(3.0));
        assert_eq!(field(stat, 22), Some(1234.0));
        assert_eq!(field("", 14), None);
        assert_eq!(field("7 (a) S", 99), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "VmSize:\t  2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(memory(status, "VmRSS"), Some(1_048_576.0));
        assert_eq!(memory(status, "Vm"), None);
    }
}
