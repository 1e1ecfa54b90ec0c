//! What changes about a log.

use std::rc::Weak;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use crate::io::flash::File;
use crate::state::mirror::TypeMeta;
use crate::state::mirror::index::Index;
use crate::wire::record::Place;

/// What changes about a log. Never borrowed across an await.
pub(crate) struct State {
    /// Open while it is used.
    pub(crate) file: Option<Arc<dyn File>>,
    /// There is a file, open or not.
    pub(crate) exists: bool,
    pub(crate) loaded: bool,
    /// Dropped for good.
    pub(crate) gone: bool,
    /// Goes up when all is forgotten: readers must start anew.
    pub(crate) epoch: u32,
    /// Goes up when the file is another one: places in the old one mean nothing any more.
    pub(crate) generation: u32,
    /// Where the last generation's committed part ended, and where in this one that is.
    pub(crate) switched: (u64, u64),
    /// Where the committed part of the file ends.
    pub(crate) end: u64,
    /// There are, or there will be, bytes beyond it that are not committed.
    pub(crate) staged: bool,
    pub(crate) index: Index,
    pub(crate) complete: Option<u64>,
    /// The version of the last list: events up to it are in it.
    pub(crate) listed: u64,
    /// How many lists have moved the log.
    pub(crate) jumps: u32,
    /// Complete at this version too, though it is not written.
    pub(crate) ahead: Option<u64>,
    pub(crate) type_meta: Option<TypeMeta>,
    pub(crate) fresh: u64,
    /// The file is known to be on flash up to here, and the last mark said so up to there.
    pub(crate) synced: u64,
    pub(crate) marked: u64,
    pub(crate) dirty: bool,
    /// A sync has failed: what it was to write may be missing on flash, whatever later syncs say. Mended by a compaction,
    /// which writes everything again.
    pub(crate) unsound: bool,
    /// The last thing that should have been written was not.
    pub(crate) stalled: bool,
    /// What failed to be written could not be cut off either: nothing may be appended.
    pub(crate) read_only: bool,
    /// The file's name is not known to be on flash.
    pub(crate) named: bool,
    pub(crate) due: Option<Instant>,
    pub(crate) sync_window: Duration,
    /// The file was used since the last look, and when to look again.
    pub(crate) used: bool,
    pub(crate) idle: Option<Instant>,
    /// No compaction before the file is this long: the last one failed.
    pub(crate) compact_from: u64,
    /// The places of all objects in key order, while a snapshot of just this state is being read.
    pub(crate) places: Weak<Vec<Place>>,
}

impl State {
    /// Of a log that has no file.
    pub(crate) fn new(sync_window: Duration) -> Self {
        Self {
            file: None,
            exists: false,
            loaded: true,
            gone: false,
            epoch: 0,
            generation: 0,
            switched: (0, 0),
            end: 0,
            staged: false,
            index: Index::default(),
            complete: None,
            listed: 0,
            jumps: 0,
            ahead: None,
            type_meta: None,
            fresh: 0,
            synced: 0,
            marked: 0,
            dirty: false,
            unsound: false,
            stalled: false,
            read_only: false,
            named: false,
            due: None,
            sync_window,
            used: false,
            idle: None,
            compact_from: 0,
            places: Weak::new(),
        }
    }

    /// As of a log that has no file, in the next epoch.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            epoch: self.epoch.wrapping_add(1),
            generation: self.generation.wrapping_add(1),
            fresh: self.fresh,
            ..Self::new(self.sync_window)
        };
    }
}
