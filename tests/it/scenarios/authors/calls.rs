//! Platforms that never answer hold up the calls of whoever named them, and of nobody else.
