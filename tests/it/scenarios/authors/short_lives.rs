//! Tokens that end as soon as they are issued.
