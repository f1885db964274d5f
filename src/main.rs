//! The `hookkeeper` binary: hands over to the command line.

fn main() {}
