//! Bodies that are read whole, up to a bound.

use crate::io::http::Body;
use crate::io::http::Bytes;

/// What was read.
pub enum Whole {
    /// All of it.
    Bytes(Bytes),
    /// More than the bound; the body gives all of it, what was read too.
    Large(Body),
    /// It broke off.
    Cut,
}

/// Reads a body, `limit` bytes at the most.
pub async fn whole(mut body: Body, limit: usize) -> Whole {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        let Ok(chunk) = chunk else { return Whole::Cut };
        bytes.extend_from_slice(&chunk);
        if bytes.len() > limit {
            return Whole::Large(Body::generate(move |mut sink| async move {
                sink.send(bytes.into()).await;
                while let Some(chunk) = body.next().await {
                    sink.send(chunk?).await;
                }
                Ok(())
            }));
        }
    }
    Whole::Bytes(bytes.into())
}
