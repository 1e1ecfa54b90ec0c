//! The buffer of a decoder that takes bytes as they come.

/// A buffer larger than this is given back when it is empty: most streams are silent most of the time, and there are many.
const KEPT: usize = 512;

/// Removes what has been handed out, and gives a buffer back that one large object has left behind.
pub(crate) fn drop_front(buffer: &mut Vec<u8>, count: usize) {
    if count == buffer.len() && buffer.capacity() > KEPT {
        *buffer = Vec::new();
    } else {
        buffer.drain(..count);
    }
}
