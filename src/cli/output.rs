//! Standard output whose reader may go away.
//!
//! Rust ignores SIGPIPE, so `hookkeeper crds | head -1` would end with an error about a broken
//! pipe. Ending quietly would be wrong too: the exit code of `check` must not depend on who reads
//! its lines, nor `sandbox` end with them. So nobody reading is no error, and the work goes on.

use std::io::{self, ErrorKind, Write};

/// Standard output; what nobody reads any more is dropped.
pub(super) fn standard() -> impl Write {
    Lenient(io::stdout().lock())
}

struct Lenient<W>(W);

impl<W: Write> Write for Lenient<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(bytes.len()),
            other => other,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fails(ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn nobody_reading_is_no_error_but_a_full_disk_is() {
        let mut closed = Lenient(Fails(ErrorKind::BrokenPipe));
        assert!(closed.write_all(b"line").is_ok() && closed.flush().is_ok());
        let mut full = Lenient(Fails(ErrorKind::StorageFull));
        assert!(full.write_all(b"line").is_err() && full.flush().is_err());
    }
}
