//! One attempt: a delivery, or what a platform answered, goes to the application.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::attempt::{Meaning, Sign, judge};
use super::request::compose;
use super::{Exchange, Locate};
use crate::gate::receiver::Receiver;
use crate::http::HeaderName;
use crate::secret::SecretText;

/// An attempt is cut so long after the client should have ended it.
pub(in crate::gate) const GRACE: Duration = Duration::from_secs(1);

/// Sends it, and judges what comes back.
pub(in crate::gate) async fn send(
    exchange: &dyn Exchange,
    locate: &dyn Locate,
    receiver: &Receiver,
    headers: Vec<(HeaderName, SecretText)>,
    content_type: Option<String>,
    body: Bytes,
) -> Meaning {
    let limit = receiver.forward.timeout;
    let exchanging = async {
        let place = match locate.locate(&receiver.owner, &receiver.forward.to).await {
            Ok(place) => place,
            Err(what) => return Meaning::Away { what, sign: Sign::Unreached },
        };
        let request = compose(place.url, headers, content_type, body, limit);
        judge(&exchange.send(&receiver.owner.namespace, place.address, request).await)
    };
    timeout(limit + GRACE, exchanging).await.unwrap_or_else(|_| Meaning::Away {
        what: format!("the application did not answer within {limit:?}"),
        sign: Sign::Silent,
    })
}
