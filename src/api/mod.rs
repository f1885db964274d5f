//! The custom resources: their types, their schema and their validation.
//!
//! Nothing here does I/O or reads a clock. Everything a user can write is one of the four kinds
//! [`WebhookProvider`], [`WebhookSubscription`], [`TokenSource`] and [`WebhookReceiver`], all in group
//! `hookkeeper.dev`, version `v1alpha1`, namespaced. Every reference stays inside the object's own
//! namespace: no reference has a `namespace` field.

mod allowed_hosts;
mod condition;
pub mod crd;
mod duration;
mod identity;
pub mod manifest;
mod provider;
mod receiver;
mod reference;
mod request_header;
mod schema;
mod secret_references;
mod status;
mod subscription;
mod token_source;
pub mod validation;

pub use allowed_hosts::{join_hosts, split_hosts};
pub use condition::{Condition, ConditionStatus, ConditionType, Reason, set_condition};
pub use duration::{Duration, InvalidDuration};
pub use identity::{Declared, Identity, Kind, ObjectKey, recorded_request};
pub use provider::{
    BasicAuth, BearerAuth, Empty, FieldWithEquals, Limits, ListFields, Operation, Operations, PageNumber,
    Pagination, Postback, ProviderAuth, ProviderParameter, WebhookProvider, WebhookProviderSpec,
};
pub use receiver::{
    Allowance, ApiKeyVerification, DuplicateAction, Duplicates, Fallback, FallbackFields, FallbackRequest,
    Forward, ForwardService, GateReport, HandOn, HmacAlgorithm, HmacEncoding, HmacVerification, Mode,
    ReceiverLimits, Retry, SecretsVerification, SeenToken, TestEvent, TestEventAction, TokenVerification,
    Verification, WebhookReceiver, WebhookReceiverSpec, WebhookReceiverStatus,
};
pub use reference::{
    LocalReference, NamedValue, PrefixedSecretSource, SecretKeyReference, SecretSource, SourcedValue,
};
pub use request_header::{
    UNSETTABLE_HEADER_MESSAGE, UNSETTABLE_HEADERS, WRITTEN_ON_THE_WAY, is_of_the_platform, is_settable,
};
pub use secret_references::secret_references;
pub use status::{
    CreationRecord, Failures, Ownership, SubscriptionStatus, TokenSourceStatus, WebhookProviderStatus,
};
pub use subscription::{
    AdoptionPolicy, ClientHeader, DeletionPolicy, HeaderSource, Rotation, SUBSCRIPTION_HEADER, TokenPlace,
    TokenPlaceholder, WebhookSubscription, WebhookSubscriptionSpec, WhenMissing,
};
pub use token_source::{
    ClientAuthentication, HttpBody, HttpMethod, HttpTokenSource, InlineTokenSource, OAuth2TokenSource,
    PublishTo, Readers, ResponseFormat, SecretTokenSource, ServiceAccountTokenSource, TokenResponse,
    TokenSource, TokenSourceSpec,
};

/// Group of the four kinds.
pub const GROUP: &str = "hookkeeper.dev";
/// Version of the four kinds.
pub const VERSION: &str = "v1alpha1";
/// Any string; a change asks for one rotation now.
pub const ROTATE_ANNOTATION: &str = "hookkeeper.dev/rotate-requested-at";
/// `"true"` lets a deletion finish without the provider.
pub const FORCE_ORPHAN_ANNOTATION: &str = "hookkeeper.dev/force-orphan";
/// On a Secret: the hosts its values may be sent to, separated by commas.
pub const ALLOWED_HOSTS_ANNOTATION: &str = "hookkeeper.dev/allowed-hosts";
/// Holds a deletion up until the remote subscription is gone.
pub const FINALIZER: &str = "hookkeeper.dev/remote-subscription";
