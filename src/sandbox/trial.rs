//! What a sandbox is given for a trial: credentials that everybody knows.

/// The management token of a sandbox that was given none.
pub const TRIAL_MANAGEMENT_TOKEN: &str = "sandbox-management-token";
/// The id of the one client of a sandbox that was given none.
pub const TRIAL_CLIENT_ID: &str = "hr-integration";
/// The secret of that client.
pub const TRIAL_CLIENT_SECRET: &str = "sandbox-client-secret";
/// What IDUnico's deliveries of a trial show, as user and password.
pub const TRIAL_IDUNICO_CREDENTIALS: &str = "sandbox-idunico:sandbox-idunico-password";
/// What IDUnico's Get Process of a trial asks for.
pub const TRIAL_IDUNICO_API_KEY: &str = "sandbox-idunico-api-key";
/// The key with which an application of a trial says what it waits for from IDUnico.
pub const TRIAL_EXPECT_KEY: &str = "sandbox-idunico-expect-key";
/// The token that Pulpo has made for a trial.
pub const TRIAL_PULPO_TOKEN: &str = "sandbox-pulpo-webhook-token";
/// What QualP's deliveries of a trial are signed with.
pub const TRIAL_QUALP_SECRET: &str = "sandbox-qualp-webhook-secret";
/// The access token in the bodies of QualP's deliveries of a trial; nobody but the application may see it.
pub const TRIAL_QUALP_ACCESS_TOKEN: &str = "sandbox-qualp-living-access-token";
/// The tax id in the same bodies: a number that nobody has.
pub const TRIAL_QUALP_TAX_ID: &str = "11222333000181";
/// What every token of a sandbox begins with, so that one is recognised where none should be.
pub const TRIAL_TOKEN_PREFIX: &str = "sandbox-token-";
