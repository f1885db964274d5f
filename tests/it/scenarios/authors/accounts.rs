//! Accounts at one host: an id means a webhook of its own account alone, and to write an id down
//! gives no right to it.
