//! Who meets a limit is held back, and nobody else is.
