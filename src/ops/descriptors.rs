//! How many files and connections the process may have open at the same time.

/// Raises the limit as far as the system lets this process, and returns what it is then; `None` when
/// there is no limit.
///
/// Service managers give 1,024 and allow many more, for the sake of old programs that know no higher
/// number (systemd.exec(5), `LimitNOFILE=`).
#[must_use]
pub fn raise() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let allowed = getrlimit(Resource::Nofile).maximum;
    // A system that allows less than it says leaves the limit as it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: allowed, maximum: allowed });
    getrlimit(Resource::Nofile).current
}
