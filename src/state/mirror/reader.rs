//! Frames out of an open file, each checked, with a buffer that holds what the next ones need.

use std::sync::Arc;

use crate::io::flash::File;
use crate::state::mirror::Error;
use crate::wire::record;
use crate::wire::record::FRAME_HEAD;
use crate::wire::record::Place;
use crate::wire::record::Record;

/// How much is read at once where frames are wanted one after the other.
pub(crate) const AHEAD: usize = 32 * 1024;

/// Reads one file.
pub(crate) struct Reader {
    file: Arc<dyn File>,
    buffer: Vec<u8>,
    /// Where in the file the buffer's first byte stands.
    start: u64,
}

/// A frame that was read and is whole.
pub(crate) struct Frame<'a> {
    pub(crate) place: Place,
    pub(crate) head: [u8; FRAME_HEAD],
    pub(crate) record: Record<'a>,
}

impl Reader {
    /// A reader of `file`; nothing is read yet.
    pub(crate) fn new(file: Arc<dyn File>) -> Self {
        Self {
            file,
            buffer: Vec::new(),
            start: 0,
        }
    }

    /// The open file.
    pub(crate) fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// The frame at `offset`, which must not reach beyond `end`; `ahead` bytes are read along if there are so many.
    pub(crate) fn frame(
        &mut self,
        offset: u64,
        end: u64,
        ahead: usize,
    ) -> Result<Frame<'_>, Error> {
        let damaged = Error::Damaged { at: offset };
        let left = end.saturating_sub(offset);
        if left < FRAME_HEAD as u64 {
            return Err(damaged);
        }
        let ahead = usize::try_from(left).unwrap_or(ahead).min(ahead);
        let at = self.fill(offset, FRAME_HEAD, ahead)?;
        let head = self.buffer.get(at..).and_then(|b| b.first_chunk());
        let (Some(head), Some(len)) =
            (head.copied(), head.and_then(|head| record::frame_len(head)))
        else {
            return Err(damaged);
        };
        if u64::from(len) > left {
            return Err(damaged);
        }
        let at = self.fill(offset, len as usize, ahead)?;
        let frame = self.buffer.get(at..at + len as usize);
        let record = frame.and_then(record::parse).ok_or(damaged)?;
        Ok(Frame {
            place: Place { offset, len },
            head,
            record,
        })
    }

    /// The frame at a place that is known.
    pub(crate) fn at(&mut self, place: Place, ahead: usize) -> Result<Record<'_>, Error> {
        let at = self.fill(place.offset, place.len as usize, ahead)?;
        let frame = self.buffer.get(at..at + place.len as usize);
        match frame.and_then(record::parse) {
            Some(record) => Ok(record),
            None => Err(Error::Damaged { at: place.offset }),
        }
    }

    /// Bytes from `offset` on, `len` of them or fewer where the file ends.
    pub(crate) fn bytes(&mut self, offset: u64, len: usize) -> Result<&[u8], Error> {
        if self.buffer.capacity() < len {
            // Zeroed as a whole; growing it would copy what is not wanted.
            self.buffer = vec![0; len];
        }
        self.buffer.resize(len, 0);
        let read = self.file.read_at(&mut self.buffer, offset)?;
        self.start = offset;
        self.buffer.truncate(read);
        Ok(&self.buffer)
    }

    /// Sees to it that the buffer holds `len` bytes from `offset` on; where in the buffer they start.
    fn fill(&mut self, offset: u64, len: usize, ahead: usize) -> Result<usize, Error> {
        let held = self.buffer.len() as u64;
        if let Some(at) = offset.checked_sub(self.start)
            && at.saturating_add(len as u64) <= held
        {
            // Below the length of the buffer, so it fits.
            return Ok(at as usize);
        }
        match self.bytes(offset, len.max(ahead))?.len() {
            read if read < len => Err(Error::Damaged { at: offset }),
            _ => Ok(0),
        }
    }
}
