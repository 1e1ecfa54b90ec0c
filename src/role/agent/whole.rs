//! Bodies that are read whole, up to a bound.

use crate::io::gzip::Gunzip;
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

/// Reads a body, `limit` bytes at the most, inflated if it is packed. One that is packed and longer than that counts as broken
/// off: what was read of it can't be given back as it came.
pub async fn whole(mut body: Body, mut gunzip: Option<Gunzip>, limit: usize) -> Whole {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        let Ok(chunk) = chunk else { return Whole::Cut };
        match &mut gunzip {
            None => bytes.extend_from_slice(&chunk),
            Some(gunzip) => {
                let mut rest = &chunk[..];
                while !rest.is_empty() {
                    match gunzip.step(rest, &mut bytes) {
                        Ok(used) if bytes.len() <= limit => rest = &rest[used..],
                        _ => return Whole::Cut,
                    }
                }
            }
        }
        if bytes.len() > limit && gunzip.is_none() {
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
