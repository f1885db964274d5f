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
//! | module | holds | start reading at |
//! |---|---|---|
//! | [`api`] | the four custom resources, their schema, their validation, reading manifests | [`api::WebhookSubscriptionSpec`] |
//! | [`rotation`] | when, what and what then: schedule, decisions, judgements, statuses; pure | [`rotation::decide::decide`] |
//! | [`engine`] | a state machine: an event in, effects out, and the loop around it; the deadline queue, budgets and hold-backs; the ports | [`engine`], `src/engine/handle.rs`, [`engine::ports`] |
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
//! # Questions and where they are answered
//!
//! | question | file | test |
//! |---|---|---|
//! | When is a token rotated? | `src/rotation/schedule.rs`: the formula and its table | the same file; `src/rotation/tests/due.rs` |
//! | What happens next, in which order? | `src/rotation/decide.rs`: the nine rules | `src/rotation/tests/order.rs`, `src/rotation/tests/properties.rs` |
//! | Which token is brought, a held one or a new one? | `src/rotation/rotate.rs` | `src/rotation/tests/tokens.rs`, `tests/it/scenarios/sources.rs` |
//! | What happens on 429, 401, 404 or a timeout? | `src/rotation/answers.rs`: what an answer means; `src/rotation/backoff.rs`: how long to wait; `src/engine/calls/outcome.rs`: what follows; `src/engine/queue/breaker.rs`: who else waits | the same files; `tests/it/scenarios/failures.rs`, `tests/it/scenarios/flaky.rs` |
//! | What if the process is killed between a create and its record? | `src/rotation/status.rs`: what a crash leaves; `src/rotation/locate.rs`: how it is found out | `src/rotation/tests/creation.rs`, `tests/it/crashes/mod.rs` |
//! | Who may claim a webhook? | `src/rotation/claims.rs` | the same file; `tests/it/scenarios/ownership.rs` |
//! | What is deleted at the provider, and when is it left there? | `src/rotation/deletion.rs` | `src/rotation/tests/deletion.rs`, `tests/it/scenarios/deleting.rs` |
//! | What do the conditions say? | `src/rotation/conditions.rs` | `src/rotation/tests/conditions.rs` |
//! | What follows from an event? | `src/engine/handle.rs`: which handler takes it | `src/engine/tests/`, `tests/it/scenarios/` |
//! | Where is a token kept, and how long? | `src/engine/state/tokens.rs`; `src/secret.rs`: what it travels in; `src/gate/verification/token_book.rs`: at the gate | `tests/it/scenarios/letting_go.rs`, `tests/it/secrets.rs` |
//! | Which hosts may be called? | `src/http/destination.rs`, `src/http/address.rs`; `src/secret/bounds.rs`: with which secret | `src/http/tests/destinations.rs`, `tests/it/hostile/destinations.rs` |
//! | Which of several processes acts? | `src/kubernetes/lease.rs`, `src/kubernetes/election.rs` | `tests/it/scenarios/leadership.rs`, `tests/it/operator/leading.rs` |
//! | Whose turn is it, and who waits for whom? | `src/engine/queue/line.rs`, `src/engine/turns.rs`, `src/shares.rs` | the same files; `tests/it/scenarios/load.rs`, `tests/it/scenarios/authors/mod.rs` |
//! | When is a delivery answered with 200? | `src/gate/intake.rs`, `src/gate/acceptance.rs` | `tests/it/gate/keeping.rs` |
//! | Who is believed to be the platform? | `src/gate/verification/mod.rs` | `src/gate/verification/tests/mod.rs`, `tests/it/gate/platforms.rs` |
//! | How do I add an operation, a preset, a reason, a metric or a field? | `CONTRIBUTING.md` | the tests that each recipe names |
//!
//! # Invariants
//!
//! Each is held by a test.
//!
//! - `api` and `rotation` do no I/O, read no clock and draw no random number.
//! - A token exists only as [`secret::SecretText`], which can be neither printed nor serialised.
//! - A token is on no disk but where `publishTo` puts it. In memory the engine keeps it until neither its
//!   source nor this process has a use for it (`src/engine/state/tokens.rs`), a call until it ends, and a gate
//!   keeps a digest of it.
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
