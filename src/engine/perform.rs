//! Carrying out effects: each call to the outside is a future that owns what it needs, has an end, and
//! reports back. None of them touches the state, so a panic in one stays with its object.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::effect::{Call, Count, Effect};
use super::event::{About, Broken, Ended, Report};
use super::ids::Ticket;
use super::ports::Ports;
use super::ports::{CallFence, Custody, RecordFailure};
use super::write::Write;

/// A call under way.
pub(crate) type Job = BoxFuture<'static, (Ticket, Ended)>;

/// No call takes longer than this, whatever its own limits: every wait has an end. It is twice the
/// longest `timeout` that a spec may have.
const LONGEST_CALL: Duration = Duration::from_secs(120);

/// Carries an effect out. What is not over at once comes back as a job.
pub(crate) fn perform(ports: &Ports, effect: Effect) -> Option<Job> {
    match effect {
        Effect::Begin(ticket, call) => {
            let call = begin(ports, call);
            Some(Box::pin(async move { (ticket, call.await) }))
        }
        Effect::ForgetCredential(client) => {
            // Said by the call itself; there is nothing to read.
            drop(client.keep_credential(Custody::Nothing));
            None
        }
        Effect::Carried { source, fingerprints } => {
            ports.gates.carried(&source, &fingerprints);
            None
        }
        Effect::Emit(notice) => {
            ports.notices.emit(notice);
            None
        }
        Effect::Count(count) => {
            tell_meter(ports, count);
            None
        }
        Effect::Answer(taken_in) => {
            taken_in.notify_one();
            None
        }
    }
}

/// A call, as a future that ends.
fn begin(ports: &Ports, call: Call) -> BoxFuture<'static, Ended> {
    match call {
        Call::Update { id, client, document, applying, decided, patience, started } => {
            let fence = fence(ports, decided.term, patience);
            job(ports, About::Call(id), async move {
                let result = client.update(&applying.id, &document, &fence).await;
                Report::Applied { applying, decided, started, result }
            })
        }
        Call::Create { id, client, document, creating, decided, started } => {
            let fence = fence(ports, decided.term, None);
            job(ports, About::Call(id), async move {
                let result = client.create(&document, &fence).await;
                Report::Created { creating, decided, started, result }
            })
        }
        Call::Delete { id, client, spec, remote_id, term, started } => {
            let fence = fence(ports, term, None);
            job(ports, About::Call(id), async move {
                let result = client.delete(&spec, &remote_id, &fence).await;
                Report::Deleted { id: remote_id, started, result }
            })
        }
        Call::List { id, client, mut paused, term, started } => {
            let fence = fence(ports, term, None);
            job(ports, About::Listing(id), async move {
                let result = client.list(&mut paused.reading, &fence).await;
                Report::Listed { started, paused, result }
            })
        }
        Call::Mint { id, namespace, spec, term, patience, started } => {
            let (fence, minter) = (fence(ports, term, patience), Arc::clone(&ports.minter));
            job(ports, About::Mint(id), async move {
                let result = minter.mint(&namespace, &spec, &fence).await;
                Report::Minted { term, spec, started, result }
            })
        }
        Call::Offer { id, key, offered } => {
            let gates = Arc::clone(&ports.gates);
            job(ports, About::Gates(id), async move {
                let result = gates.offer(&key, &offered).await;
                Report::Offered { fingerprint: offered.fingerprint, result }
            })
        }
        Call::Write { namespace, is_superseded, write } => {
            let job = write_job(ports, is_superseded, write);
            Box::pin(async move { Ended { wrote_for: Some(namespace), ..job.await } })
        }
    }
}

fn tell_meter(ports: &Ports, count: Count) {
    let meter = &ports.meter;
    match count {
        Count::Rotation { provider, outcome, lead } => meter.rotation(&provider, outcome, lead),
        Count::Mint { class, took } => meter.mint(class, took),
        Count::ProviderRequest { operation, class, took } => meter.provider_request(operation, class, took),
        Count::ProviderGone(provider) => meter.provider_gone(&provider),
        Count::GateBehind => meter.gate_behind(),
        Count::Gauges(gauges) => meter.gauges(&gauges),
    }
}

fn write_job(ports: &Ports, is_superseded: bool, write: Write) -> BoxFuture<'static, Ended> {
    let record = Arc::clone(&ports.record);
    match write {
        Write::Status { id, key, uid, status, term: _, then } => {
            let written = Arc::clone(&status);
            let call = async move {
                if is_superseded {
                    return Err(RecordFailure::Superseded);
                }
                record.subscription(&key, &uid, &written).await
            };
            record_job(ports, About::Subscription(id), call, move |result| Report::Recorded {
                status,
                then,
                result,
            })
        }
        Write::Finalizer { id, key, uid, wanted } => {
            let call = async move { record.set_finalizer(&key, &uid, wanted).await };
            record_job(ports, About::Subscription(id), call, move |result| Report::FinalizerWritten {
                wanted,
                result,
            })
        }
        Write::Release { id, key, uid } => {
            let call = async move { record.release(&key, &uid).await };
            record_job(ports, About::Subscription(id), call, Report::Released)
        }
        Write::CompareSecrets { id, client, namespace, spec } => {
            job(ports, About::Subscription(id), async move {
                Report::Secrets(client.document_secrets(&namespace, &spec).await)
            })
        }
        Write::SourceStatus { id, key, before, status } => {
            let said = key.clone();
            let call = async move { record.token_source(&key, &status).await };
            record_job(ports, About::Aside, call, move |result| {
                if let Err(failure) = &result {
                    tracing::warn!(key = %said, %failure, "the status of a TokenSource could not be recorded");
                }
                Report::SourceRecorded { id, before, durable: result.is_ok() }
            })
        }
        Write::ReadPublished { id, key, secret_name, forgotten } => {
            let publish = Arc::clone(&ports.publish);
            job(ports, About::Publishing(id), async move {
                Report::PublishedRead { forgotten, result: publish.read(&key, &secret_name).await }
            })
        }
        Write::Published { id, key, secret_name, forgotten, tokens } => {
            let publish = Arc::clone(&ports.publish);
            job(ports, About::Publishing(id), async move {
                let result = publish.write(&key, &secret_name, &tokens).await;
                Report::PublishedWritten { forgotten, tokens, result }
            })
        }
        Write::ProviderStatus { id, key, status } => {
            let said = key.clone();
            let call = async move { record.provider(&key, &status).await };
            record_job(ports, About::Aside, call, move |result| {
                if let Err(failure) = result {
                    tracing::warn!(key = %said, %failure, "the status of a WebhookProvider could not be recorded");
                }
                Report::ProviderRecorded(id)
            })
        }
        Write::ProviderFinalizer { id, key, uid, wanted } => {
            let of = uid.clone();
            let call = async move { record.set_provider_finalizer(&key, &uid, wanted).await };
            record_job(ports, About::Aside, call, move |result| Report::ProviderFinalizerWritten {
                id,
                uid: of,
                wanted,
                result,
            })
        }
        Write::Identify { id, client } => job(ports, About::Account(id), async move {
            if let Err(refusal) = client.identify().await {
                // Whoever calls next says the same to people.
                tracing::debug!(%refusal, "the account of a provider is not known yet");
            }
            Report::Identified
        }),
        Write::KeepCredential { id, client, custody } => job(ports, About::Aside, async move {
            client.keep_credential(custody).await;
            Report::CredentialKept(id)
        }),
    }
}

/// Gives a call an end, and catches its panic.
async fn unbroken<T>(limit: BoxFuture<'static, ()>, call: impl Future<Output = T>) -> Result<T, Broken> {
    tokio::select! {
        biased;
        result = AssertUnwindSafe(call).catch_unwind() => result.map_err(|_| Broken::Panicked),
        () = limit => Err(Broken::Overdue),
    }
}

/// A call that runs beside the state.
fn job(
    ports: &Ports,
    about: About,
    call: impl Future<Output = Report> + Send + 'static,
) -> BoxFuture<'static, Ended> {
    let limit = ports.clock.sleep(LONGEST_CALL);
    Box::pin(async move {
        let report = unbroken(limit, call).await.unwrap_or_else(Report::Broken);
        Ended { about, report, wrote_for: None }
    })
}

/// Something that is to be made durable. Whatever becomes of it is reported as its result, so that what
/// follows it is never forgotten.
fn record_job(
    ports: &Ports,
    about: About,
    call: impl Future<Output = Result<(), RecordFailure>> + Send + 'static,
    report: impl FnOnce(Result<(), RecordFailure>) -> Report + Send + 'static,
) -> BoxFuture<'static, Ended> {
    let limit = ports.clock.sleep(LONGEST_CALL);
    Box::pin(async move {
        let result = unbroken(limit, call).await.unwrap_or_else(|broken| Err(broken.into()));
        Ended { about, report: report(result), wrote_for: None }
    })
}

/// A fence for the term in which a step was decided; `patience` cuts the request's timeout as well.
fn fence(ports: &Ports, term: Option<u64>, patience: Option<Duration>) -> CallFence {
    let (leadership, clock) = (Arc::clone(&ports.leadership), Arc::clone(&ports.clock));
    let fence = CallFence::new(move || {
        let claim = leadership.claim().filter(|claim| Some(claim.term) == term)?;
        let now = clock.now();
        let by_wall = claim.until.wall.signed_duration_since(now.wall).to_std().ok()?;
        let by_boot = claim.until.boot.checked_sub(now.boot)?;
        Some(by_wall.min(by_boot))
    });
    match patience {
        Some(patience) => fence.within(patience),
        None => fence,
    }
}
