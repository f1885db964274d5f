//! The examples of the platforms' own documents, as they stand there.
