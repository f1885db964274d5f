//! Why a request is refused.

use std::fmt;

/// Why a request to a receiver was not taken. Each has one answer and one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// Not POST: 405.
    Method,
    /// From a network that is not the platform's: 403.
    Source,
    /// The body is larger than it may be: 413.
    TooLarge,
    /// No credential: 401.
    NoCredential,
    /// The header that holds the credential comes twice: 401.
    CredentialTwice,
    /// The header does not have the form of a credential: 401.
    CredentialMalformed,
    /// A credential that is none of ours: 401.
    UnknownCredential,
    /// A token that was accepted once: 401.
    RetiredToken,
    /// A signature whose time is too far from ours: 401.
    StaleTimestamp,
    /// A credential that cannot be judged at this moment: 503.
    CredentialUnsure,
    /// None of the receiver's credentials can be used: 503.
    CredentialUnusable,
    /// The body did not come, or not whole: 400, or no answer at all.
    BodyIncomplete,
    /// It did not come in time: 408.
    TooSlow,
    /// More a second than the receiver takes: 429.
    TooMany,
    /// No memory is left for its body: 503.
    NoMemory,
    /// The receiver has no room for it: 503.
    NoRoom,
    /// The store does not make it durable: 503.
    Store,
    /// The application did not answer (`Direct`): 503.
    Application,
    /// The receiver takes nothing at this moment (`Direct` and suspended): 503.
    Suspended,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Method,
        Self::Source,
        Self::TooLarge,
        Self::NoCredential,
        Self::CredentialTwice,
        Self::CredentialMalformed,
        Self::UnknownCredential,
        Self::RetiredToken,
        Self::StaleTimestamp,
        Self::CredentialUnsure,
        Self::CredentialUnusable,
        Self::BodyIncomplete,
        Self::TooSlow,
        Self::TooMany,
        Self::NoMemory,
        Self::NoRoom,
        Self::Store,
        Self::Application,
        Self::Suspended,
    ];

    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::Source => 403,
            Self::TooLarge => 413,
            Self::NoCredential
            | Self::CredentialTwice
            | Self::CredentialMalformed
            | Self::UnknownCredential
            | Self::RetiredToken
            | Self::StaleTimestamp => 401,
            Self::BodyIncomplete => 400,
            Self::TooSlow => 408,
            Self::TooMany => 429,
            Self::CredentialUnsure
            | Self::CredentialUnusable
            | Self::NoMemory
            | Self::NoRoom
            | Self::Store
            | Self::Application
            | Self::Suspended => 503,
        }
    }

    /// Its name in metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Method => "Method",
            Self::Source => "Source",
            Self::TooLarge => "TooLarge",
            Self::NoCredential => "NoCredential",
            Self::CredentialTwice => "CredentialTwice",
            Self::CredentialMalformed => "CredentialMalformed",
            Self::UnknownCredential => "UnknownCredential",
            Self::RetiredToken => "RetiredToken",
            Self::StaleTimestamp => "StaleTimestamp",
            Self::CredentialUnsure => "CredentialUnsure",
            Self::CredentialUnusable => "CredentialUnusable",
            Self::BodyIncomplete => "BodyIncomplete",
            Self::TooSlow => "TooSlow",
            Self::TooMany => "TooMany",
            Self::NoMemory => "NoMemory",
            Self::NoRoom => "NoRoom",
            Self::Store => "Store",
            Self::Application => "Application",
            Self::Suspended => "Suspended",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
