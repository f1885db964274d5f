//! The `hookkeeper` binary: hands over to the command line.

use std::alloc::System;
use std::process::ExitCode;

use zeroizing_alloc::ZeroAlloc;

/// Wipes all memory that is freed. [`SecretText`](hookkeeper::secret::SecretText) wipes what is ours;
/// most copies of a token are made by what sends and reads it: buffers of TLS and HTTP, texts that are
/// parsed, a vector that has grown and left its old place.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    hookkeeper::cli::main()
}
