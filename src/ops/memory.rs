//! Who gets to see the memory of this process, in which credentials and tokens are.

use std::io;

/// From now on the process leaves no core dump, neither in a file nor with a service that collects
/// them, and no other process of the same user may read its memory; root still can.
///
/// # Errors
/// When the operating system refuses. Elsewhere than on Linux only the size of a core dump is limited.
pub fn keep_private() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limited = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    // A limit alone is not enough: a core dump that goes to a program, as that of systemd does, goes
    // there whatever the limit is (core(5)). Where this is done, the limit may be forbidden.
    #[cfg(target_os = "linux")]
    let limited = limited.or(Ok(())).and(not_dumpable());
    Ok(limited?)
}

#[cfg(target_os = "linux")]
fn not_dumpable() -> rustix::io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}
