//! The last station of every line of the log: whatever stands in it, it stays one line.

use std::io::{self, Write};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use crate::printable::printable;

/// Hands lines on without control characters and marks of the direction of writing. Who writes a line
/// of the log has to know nothing of this, and so nobody can forget it.
#[derive(Clone, Debug)]
pub(super) struct CleanLines<M>(pub(super) M);

/// Writes one line.
#[derive(Debug)]
pub(super) struct CleanLine<W>(W);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for CleanLines<M> {
    type Writer = CleanLine<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        CleanLine(self.0.make_writer())
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        CleanLine(self.0.make_writer_for(metadata))
    }
}

impl<W: Write> Write for CleanLine<W> {
    /// Is given a whole line at once, with the line break at its end.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let (line, end) = text.strip_suffix('\n').map_or((&*text, ""), |line| (line, "\n"));
        let mut line = printable(line).into_owned();
        line.push_str(end);
        // In one piece, because other threads write too.
        self.0.write_all(line.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
