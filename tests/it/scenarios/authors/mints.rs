//! Token servers that never answer hold up the mints of whoever named them, and of nobody else.
