//! hookkeeper keeps the expiring tokens inside third-party webhook subscriptions fresh.
//!
//! A platform delivers webhooks with the headers that were last stored in its subscription. When
//! one of them is a token that expires, somebody must fetch a new one and store it in time, again and
//! again. This crate is that somebody: a library, and a thin binary around [`cli::main`]. Its second half,
//! the gate, takes the deliveries in, and so shows that a new token has arrived.
//!
//! # Bird's-eye view
//!
//! ```text
//!            desired state                                recorded state
//!  API server ──watch──▶ kubernetes ─┐                 ┌──▶ kubernetes ──▶ API server
//!                                    ├─▶ engine ─▶ rotation (pure)
//!  YAML files ──watch──▶ sidecar ────┘     │           └──▶ sidecar ──▶ state file
//!                                          ▼
//!                        token_source ─▶ provider ──▶ http ──▶ the outside
//! ```
//!
//! A shell hands over what is declared and makes durable what is recorded. The engine files each
//! subscription under the time of its next need, and when the time has come asks the pure core what
//! to do. It does one step, hands the outcome back to the core, records the status that comes of
//! it, and files the subscription again. Data goes one way; nothing below calls back up. The two
//! shells know nothing of each other and share everything else.
//!
//! ```text
//!  platform ──POST──▶ gate: proves ──▶ store: commits ──▶ 200
//!                                        │
//!                       gate: hands on ◀─┘──▶ application
//! ```
//!
//! The gate meets the engine only in the shells: a new token is offered to it before the provider has
//! it, and which token a delivery carried goes to the engine as a change.
//!
//! # Code map
//!
//! | room | holds | start reading at |
//! |---|---|---|
//! | [`api`] | the four custom resources, their schema, their validation, reading manifests | [`api::WebhookSubscriptionSpec`] |
//! | [`rotation`] | when, what and what then: schedule, decisions, judgements, statuses; pure | [`rotation::decide::decide`] |
//! | [`engine`] | the deadline queue, budgets and hold-backs, mints with fan-out, the ports | [`engine::Engine::run`], [`engine::ports`] |
//! | [`http`] | the one guarded client | [`http::Client`] |
//! | [`token_source`] | obtaining tokens, reading what token servers answer | [`token_source::TokenMinter`] |
//! | [`provider`] | operations as data: the placeholder language, presets as YAML | [`provider::Gateway`] |
//! | [`gate`] | deliveries: proving them, keeping them safe, handing them on | [`gate::intake`], [`gate::verification`] |
//! | [`store`] | deliveries and expectations, durable | [`store::Store`] |
//! | [`kubernetes`] | the shell in a cluster: watches, statuses, Secrets, events, the lease | [`kubernetes::shell::Shell`] |
//! | [`sidecar`] | the shell without a cluster: folder, Secrets from files, state file | [`sidecar::shell::Shell`] |
//! | [`sandbox`] | a provider and a token server with faults on demand, which judge what they see | [`sandbox::Sandbox`] |
//! | [`ops`] | logs, metrics, health, shutdown | [`ops::admin`] |
//! | [`cli`] | one file for each subcommand | [`cli::main`] |
//! | [`secret`] | the one type in which tokens and credentials travel | [`secret::SecretText`] |
//! | `shares` | what is scarce, shared by namespace: places and turns | `shares::Places` |
//! | [`printable`] | texts of others, made fit for a line and a terminal | [`printable::printable`] |
//!
//! # Invariants
//!
//! Each is held by a test.
//!
//! - `api` and `rotation` do no I/O, read no clock and draw no random number.
//! - A token exists only as [`secret::SecretText`], which can be neither printed nor serialised.
//! - Every request to the outside goes through [`http`]: destination policy on the parsed host and
//!   on every resolved address, no redirect, no proxy of the environment, no retry of its own,
//!   limits on time and size.
//! - A create is sent only after a record of it is durable, and never while the outcome of an
//!   earlier one is open: a crash at any moment leaves one remote subscription, not two.
//! - A rotation is due no later than the time that two attempts need before the token's end, by the
//!   wall clock or by boot time, whichever comes first.
//! - A new token is brought to every member of its source at once.
//! - `Ready` is true exactly when the remote subscription is known, its token lives and this
//!   generation's document is in place.
//! - Of several processes in a cluster one acts, by a claim that ends by itself; a step dies with the
//!   term it was decided in.
//! - Nothing is answered with success that was not verified, and nothing that is to be kept before it is
//!   durable: what was acknowledged is handed on, or waits for a person.
//! - Bodies, credentials and tokens of deliveries are in no log, metric, status or error.
//! - A panic in one subscription's step stays with that subscription.
//! - No provider's name stands in code outside its preset and the sandbox.
//!
//! # Deliberately absent
//!
//! - No general template, path or expression engine reads what users write: operations have a small
//!   placeholder language with bounded cost.
//! - No client library retries by itself: an attempt is a decision, and is counted.
//! - No drift detection on secret values: providers do not show them; a digest of what was applied
//!   is kept instead, without secret bytes.
//! - No payload transformation, no fan-out of deliveries, no secret store.

pub mod api;
pub mod cli;
pub mod engine;
pub mod gate;
pub mod http;
pub mod kubernetes;
pub mod ops;
pub mod printable;
pub mod provider;
pub mod rotation;
pub mod sandbox;
pub mod secret;
mod shares;
pub mod sidecar;
pub mod store;
pub mod token_source;
