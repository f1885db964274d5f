//! Work that takes as long as an answer is large.

/// So many bytes are read at once: it takes less time than to have them read elsewhere.
const SMALL: usize = 16 * 1024;

/// Does the work, and where it is large not on the task that asks: others wait for that one. The size
/// is in bytes of what somebody else has sent.
pub(super) async fn aside<T: Send + 'static>(size: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if size <= SMALL {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The process is ending.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_large_is_done_elsewhere() {
        let here = std::thread::current().id();
        assert_eq!(aside(SMALL, || std::thread::current().id()).await, here);
        assert_ne!(aside(SMALL + 1, || std::thread::current().id()).await, here);
    }
}
