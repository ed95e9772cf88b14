//! The persistence thread: the only one that writes to the workdir while the server runs.
//!
//! Each round: (1) the allocators' refill, if one is due; (2) one batch: edits in queue order up to the cut, judged,
//! written, synced, applied, answered; (3) one slice of a rewrite, if one is under way or due. With nothing to do it waits
//! for an edit, a poke or the time of the next refill. It ends when the queue is closed and empty (then it freezes the
//! allocators and writes their exact values), or by the first error that is not "no space" (or no file descriptor).
//!
//! Lock order: the catalog's lock and the allocators' are never held together, and neither during I/O. A hold of the
//! catalog covers at most [`HOLD_EDITS_MAX`] edits.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crossbeam_channel::TryRecvError;

use super::batch::{BATCH_EDITS_MAX, Batch, Offer};
use super::checkpoint::CheckpointFile;
use super::dir::{Dir, WriteError};
use super::lock::Lock;
use super::manifest::Manifest;
use super::queue::{Queue, Request};
use super::rewrite::{self, Rewrite};
use super::sync::{self, Instant, Receiver, Wake};
use super::{EditError, State, StorageError, hold};
use crate::core::{AllocError, Limits, Refill, RegionId};

/// Edits judged or applied in one hold of the catalog's lock.
const HOLD_EDITS_MAX: usize = 256;
/// How long a full disk is left alone before the checkpoint is tried again. A parked allocation waits no longer than that.
const CHECKPOINT_RETRY: Duration = Duration::from_millis(100);
/// How long after a rewrite was given up for lack of space the next one begins.
const REWRITE_RETRY: Duration = Duration::from_secs(30);

/// What the thread works on: a workdir that is ready for writing.
pub(super) struct Work {
    pub(super) dir: Dir,
    /// Held until the thread ends.
    pub(super) lock: Lock,
    pub(super) state: Arc<State>,
    pub(super) manifest: Manifest,
    pub(super) checkpoint: CheckpointFile,
}

impl Work {
    /// Writes the checkpoint.
    fn save(&mut self, limits: Limits) -> Result<(), WriteError> {
        self.check_lock()?;
        self.checkpoint.write(limits, &self.manifest)
    }

    fn check_lock(&self) -> Result<(), WriteError> {
        self.lock.check(&*self.dir.fs).map_err(WriteError::Final)
    }
}

/// The thread's state.
pub(super) struct Persistence {
    work: Work,
    queue: Queue,
    requests: Receiver<Request>,
    pokes: Receiver<()>,
    /// The queue is closed, and what is left of it is in `pending`.
    closed: bool,
    /// Off the queue, not in a batch yet, in queue order; at most [`HOLD_EDITS_MAX`].
    pending: VecDeque<Request>,
    batch: Batch,
    /// Bytes of the records that make up the catalog.
    live: u64,
    rewrite: Option<Rewrite>,
    began: Instant,
    checkpoint_not_before: Duration,
    rewrite_not_before: Duration,
    /// For whoever asks how the disk is; changed by this thread alone.
    has_space: Arc<AtomicBool>,
}

impl Persistence {
    /// A thread's state; `requests` is the far end of `queue`.
    pub(super) fn new(
        work: Work,
        queue: Queue,
        requests: Receiver<Request>,
        pokes: Receiver<()>,
        has_space: Arc<AtomicBool>,
    ) -> Self {
        Self {
            work,
            queue,
            requests,
            pokes,
            closed: false,
            pending: VecDeque::with_capacity(HOLD_EDITS_MAX),
            batch: Batch::default(),
            live: 0,
            rewrite: None,
            began: Instant::now(),
            checkpoint_not_before: Duration::ZERO,
            rewrite_not_before: Duration::ZERO,
            has_space,
        }
    }

    pub(super) fn workdir(&self) -> &Path {
        &self.work.dir.path
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(&mut self) -> Result<(), StorageError> {
        self.count_live()?;
        loop {
            let wait = self.refill()?;
            let worked = self.collect();
            self.write_batch()?;
            if self.closed && self.pending.is_empty() {
                return self.finish();
            }
            let copied = self.advance_rewrite()?;
            if !worked && !copied {
                self.wait(wait);
            }
        }
    }

    /// Counts the catalog's bytes; here and not before the start, because a million regions take a moment.
    fn count_live(&mut self) -> Result<(), StorageError> {
        let mut from = Some(RegionId(0));
        while let Some(id) = from {
            self.refill()?;
            let (len, rest) = rewrite::live_len(&self.work.state.cluster, id);
            self.live += len;
            from = rest;
        }
        Ok(())
    }

    /// Waits for an edit, a poke, the end of the queue, or `time` (`None`: for ever).
    fn wait(&mut self, time: Option<Duration>) {
        match sync::wait(&self.requests, &self.pokes, time) {
            Wake::Message(request) => self.pending.push_back(request),
            Wake::Closed => self.closed = true,
            Wake::Other => {}
        }
    }

    /// Raises or lowers the allocators' limits if that is due. Returns after what time to look again.
    fn refill(&mut self) -> Result<Option<Duration>, StorageError> {
        let now = self.began.elapsed();
        if let Some(wait) = self.checkpoint_not_before.checked_sub(now).filter(|wait| !wait.is_zero()) {
            return Ok(Some(wait));
        }
        let due = hold(&self.work.state.allocators).refill(now);
        let limits = match due {
            Refill::None => return Ok(None),
            Refill::NotBefore(wait) => return Ok(Some(wait)),
            Refill::Write(limits) => limits,
        };
        match self.work.save(limits) {
            Ok(()) => {
                self.note_space(true);
                // Counted from the end of the write, so that no second holds three of them.
                let written = self.began.elapsed();
                let served = hold(&self.work.state.allocators).raise(limits, written);
                for (reply, first) in served {
                    let _ = reply.send(Ok(first));
                }
            }
            Err(WriteError::NoSpace(error)) => {
                log::debug!("{error}");
                self.note_space(false);
                self.checkpoint_not_before = now + CHECKPOINT_RETRY;
                let given_up = hold(&self.work.state.allocators).give_up_parked();
                for reply in given_up {
                    let _ = reply.send(Err(AllocError::NoSpace));
                }
            }
            Err(WriteError::Final(error)) => return Err(error),
        }
        // A request may have been parked meanwhile: look again, but let a batch go first.
        Ok(Some(Duration::ZERO))
    }

    /// Fills the empty batch from the queue, up to the cut. Answers what needs no record. Returns whether anything was in the
    /// queue.
    fn collect(&mut self) -> bool {
        let mut seen = 0;
        while seen < BATCH_EDITS_MAX {
            self.fetch();
            if self.pending.is_empty() {
                break;
            }
            let mut answers = Vec::new();
            let mut cut = false;
            {
                let mut cluster = hold(&self.work.state.cluster);
                while let Some(request) = self.pending.pop_front() {
                    match self.batch.offer(request, &cluster) {
                        Offer::Taken => {}
                        Offer::Answered(request, result) => {
                            cluster.end_edit(request.edit.region_id());
                            answers.push((request, result));
                        }
                        Offer::Next(request) => {
                            self.pending.push_front(request);
                            cut = true;
                            break;
                        }
                    }
                    seen += 1;
                }
            }
            for (request, result) in answers {
                request.answer(result);
            }
            if cut {
                break;
            }
        }
        seen > 0
    }

    /// Moves edits from the queue to `pending`, as many as one hold may cover.
    fn fetch(&mut self) {
        while self.pending.len() < HOLD_EDITS_MAX {
            match self.requests.try_recv() {
                Ok(request) => self.pending.push_back(request),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.closed = true;
                    return;
                }
            }
        }
    }

    /// Makes the batch durable, visible and answered, and empties it.
    fn write_batch(&mut self) -> Result<(), StorageError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let issued = self.given_out();
        match self.append(issued) {
            Ok(()) => {
                self.note_space(true);
                self.live = self.live + self.batch.live_added - self.batch.live_removed;
                self.settle(Ok(()));
                self.follow(issued)?;
            }
            Err(WriteError::NoSpace(error)) => {
                log::debug!("{error}");
                self.note_space(false);
                self.settle(Err(EditError::NoSpace));
            }
            Err(WriteError::Final(error)) => return Err(error),
        }
        self.batch.clear();
        Ok(())
    }

    fn append(&mut self, issued: Limits) -> Result<(), WriteError> {
        self.work.check_lock()?;
        let mut written = self.work.manifest.write(&mut self.batch.records, issued);
        if matches!(written, Err(WriteError::NoSpace(_))) && self.give_rewrite_up() {
            // The space that the new manifest had may be enough.
            written = self.work.manifest.write(&mut self.batch.records, issued);
        }
        written?;
        self.work.manifest.sync().map_err(WriteError::Final)
    }

    /// Ends the batch: applies it if it is durable, then answers it, a lock hold at a time.
    fn settle(&mut self, result: Result<(), EditError>) {
        while !self.batch.is_empty() {
            let count = self.batch.taken.len().min(HOLD_EDITS_MAX);
            {
                let mut cluster = hold(&self.work.state.cluster);
                for taken in &self.batch.taken[..count] {
                    if result.is_ok() {
                        taken.apply(&mut cluster);
                    }
                    cluster.end_edit(taken.region_id());
                }
            }
            self.batch.taken.drain(..count).for_each(|taken| taken.answer(result));
        }
    }

    /// Appends the batch, which is durable in the old manifest, to the new one of a rewrite.
    fn follow(&mut self, issued: Limits) -> Result<(), StorageError> {
        let Some(rewrite) = &mut self.rewrite else { return Ok(()) };
        match rewrite.follow(&mut self.batch.records, issued) {
            Err(WriteError::NoSpace(_)) => {
                self.give_rewrite_up();
                Ok(())
            }
            Err(WriteError::Final(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    /// Takes the next step of a rewrite, if one is under way or due. Returns whether it did.
    fn advance_rewrite(&mut self) -> Result<bool, StorageError> {
        match self.rewrite_step() {
            Ok(stepped) => Ok(stepped),
            Err(WriteError::NoSpace(error)) => {
                log::warn!("the manifest is not rewritten now, the old one goes on: {error}");
                self.give_rewrite_up();
                // Also one that could not begin.
                self.delay_rewrite();
                Ok(false)
            }
            Err(WriteError::Final(error)) => Err(error),
        }
    }

    fn rewrite_step(&mut self) -> Result<bool, WriteError> {
        let issued = self.given_out();
        let Work { dir, state, manifest, .. } = &mut self.work;
        match &mut self.rewrite {
            None => {
                let is_due =
                    rewrite::is_due(manifest.end(), self.live) && self.began.elapsed() >= self.rewrite_not_before;
                if is_due {
                    self.rewrite = Some(Rewrite::begin(dir, manifest.name())?);
                }
                return Ok(is_due);
            }
            Some(rewrite) if !rewrite.is_complete() => {
                rewrite.copy_slice(&state.cluster, issued)?;
                rewrite.sync().map_err(WriteError::Final)?;
            }
            Some(rewrite) => {
                rewrite.seal(issued)?;
                rewrite.make_current(dir)?;
                if let Some(rewrite) = self.rewrite.take() {
                    self.switch_to(rewrite.into_manifest());
                }
            }
        }
        Ok(true)
    }

    /// Goes on with the new manifest, which `CURRENT` names now. The state file's mark still names the old one until the next
    /// refill, and counts for nothing.
    fn switch_to(&mut self, manifest: Manifest) {
        let old = std::mem::replace(&mut self.work.manifest, manifest);
        let new = &self.work.manifest;
        log::info!("rewrote {} ({} bytes) as {} ({} bytes)", old.name(), old.end(), new.name(), new.end());
        self.work.dir.discard(old.path());
    }

    /// Returns whether there was a rewrite to give up.
    fn give_rewrite_up(&mut self) -> bool {
        let Some(rewrite) = self.rewrite.take() else { return false };
        rewrite.abandon(&self.work.dir);
        self.delay_rewrite();
        true
    }

    fn delay_rewrite(&mut self) {
        self.rewrite_not_before = self.began.elapsed() + REWRITE_RETRY;
    }

    /// The clean end: every edit is answered.
    fn finish(&mut self) -> Result<(), StorageError> {
        self.give_rewrite_up();
        self.refill()?;
        let parked = hold(&self.work.state.allocators).freeze();
        for reply in parked {
            let _ = reply.send(Err(AllocError::Stopped));
        }
        self.work.save(self.given_out())?;
        Ok(())
    }

    /// The end by `error`: refuses everything that waits and everything that may still come.
    pub(super) fn refuse_all(&mut self, error: &StorageError) {
        self.queue.close();
        let parked = self.work.state.allocators.lock().unwrap_or_else(PoisonError::into_inner).freeze();
        for reply in parked {
            let _ = reply.send(Err(AllocError::Stopped));
        }
        let in_batch = match error {
            // Found before anything was written.
            StorageError::ChangedUnderUs { .. } => EditError::Stopped,
            _ => EditError::Unknown,
        };
        for taken in std::mem::take(&mut self.batch.taken) {
            self.end_edit(taken.region_id());
            taken.answer(Err(in_batch));
        }
        while let Some(request) = self.pending.pop_front().or_else(|| self.requests.try_recv().ok()) {
            self.end_edit(request.edit.region_id());
            request.answer(Err(EditError::Stopped));
        }
    }

    /// After an error: a catalog that a panic has left locked is left alone.
    fn end_edit(&self, id: RegionId) {
        if let Ok(mut cluster) = self.work.state.cluster.lock() {
            cluster.end_edit(id);
        }
    }

    /// What may have been given out by now.
    fn given_out(&self) -> Limits {
        let issued = hold(&self.work.state.allocators).issued();
        self.work.checkpoint.given_out(issued)
    }

    /// Logs the first failure for lack of space or descriptors, and the first success after it.
    fn note_space(&mut self, has_space: bool) {
        if self.has_space.swap(has_space, Ordering::Relaxed) != has_space {
            let workdir = self.workdir().display();
            match has_space {
                false => {
                    log::warn!(
                        "no space in {workdir}, or no file descriptor free: what needs it is refused until there is"
                    );
                }
                true => log::warn!("writing to {workdir} succeeds again"),
            }
        }
    }
}
