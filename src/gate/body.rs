//! Reading a delivery's body: counted as it comes, in memory that was asked for, within a time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::{Instant, timeout_at};

use super::memory::Portion;
use super::refusal::Refusal;

/// How long a body may take to come.
pub(super) const TIMEOUT: Duration = Duration::from_secs(20);

/// Reads the whole body, at most `limit` bytes of it.
///
/// # Errors
/// When it is longer, does not come whole or in time, or there is no memory for it.
pub(super) async fn read<B>(body: B, limit: usize, portion: &mut Portion) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let deadline = Instant::now() + TIMEOUT;
    timeout_at(deadline, collect(body, limit, portion)).await.unwrap_or(Err(Refusal::TooSlow))
}

async fn collect<B>(mut body: B, limit: usize, portion: &mut Portion) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut first: Option<Bytes> = None;
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::BodyIncomplete)?;
        // Trailers mean nothing here.
        let Ok(data) = frame.into_data() else { continue };
        let length = all.len() + first.as_ref().map_or(0, Bytes::len) + data.len();
        if length > limit {
            return Err(Refusal::TooLarge);
        }
        portion.grow_to(length).map_err(|_| Refusal::NoMemory)?;
        match (first.take(), all.is_empty()) {
            // Most bodies come in one piece, which is not copied.
            (None, true) => first = Some(data),
            (Some(before), _) => {
                all.extend_from_slice(&before);
                all.extend_from_slice(&data);
            }
            (None, false) => all.extend_from_slice(&data),
        }
    }
    Ok(first.unwrap_or_else(|| all.freeze()))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;
    use crate::gate::memory::Memory;
    use crate::store::Owner;

    async fn read(pieces: &[&'static str], limit: usize) -> Result<Bytes, Refusal> {
        let frames = pieces.iter().map(|piece| {
            if *piece == "cut" { Err("cut") } else { Ok(Frame::data(Bytes::from_static(piece.as_bytes()))) }
        });
        let body = StreamBody::new(futures::stream::iter(frames.collect::<Vec<_>>()));
        let owner = Owner { namespace: "a".into(), name: "b".into(), uid: "c".into() };
        collect(body, limit, &mut Memory::default().portion(&owner, true)).await
    }

    #[tokio::test]
    async fn a_body_comes_whole_or_not_at_all() {
        assert_eq!(read(&[], 3).await, Ok(Bytes::new()));
        assert_eq!(read(&["abc"], 3).await, Ok(Bytes::from_static(b"abc")));
        assert_eq!(read(&["a", "", "b", "c"], 3).await, Ok(Bytes::from_static(b"abc")));
        assert_eq!(read(&["", "abc"], 3).await, Ok(Bytes::from_static(b"abc")));
        assert_eq!(read(&["ab", "cd"], 3).await, Err(Refusal::TooLarge));
        assert_eq!(read(&["ab", "cut"], 3).await, Err(Refusal::BodyIncomplete));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_waited_for_no_longer_than_its_time() {
        let drip = |every: Duration, count: usize| {
            let drops = futures::stream::unfold(0, move |number| async move {
                tokio::time::sleep(every).await;
                let frame = Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x")));
                (number < count).then_some((frame, number + 1))
            });
            StreamBody::new(Box::pin(drops))
        };
        let owner = Owner { namespace: "a".into(), name: "b".into(), uid: "c".into() };
        let mut portion = Memory::default().portion(&owner, true);
        let began = Instant::now();
        let second = Duration::from_secs(1);
        let endless = super::read(drip(second, usize::MAX), usize::MAX, &mut portion).await;
        assert_eq!((endless, began.elapsed()), (Err(Refusal::TooSlow), TIMEOUT));
        // One that comes to its end in time is taken, however slowly it came.
        let in_time = super::read(drip(second, 18), 18, &mut portion).await;
        assert_eq!(in_time.map(|body| body.len()), Ok(18));
    }

    #[tokio::test]
    async fn a_body_without_memory_for_it_is_refused() {
        let owner = Owner { namespace: "a".into(), name: "b".into(), uid: "c".into() };
        let memory = Memory::of(0);
        let body = Full::new(Bytes::from_static(b"x"));
        assert_eq!(collect(body, 10, &mut memory.portion(&owner, true)).await, Err(Refusal::NoMemory));
    }
}
