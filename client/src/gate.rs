//! The lease file: where the agent writes until when its Postgres may acknowledge commits.
//!
//! It is one page on tmpfs, mapped by the agent (the only writer) and by every backend of the Postgres beside
//! it (through the extension in `client/gate`). A backend compares the deadline in it with `CLOCK_BOOTTIME`
//! before and after it makes a commit durable, so a lease ends by the clock alone, whatever has become of the
//! agent. `docs/gate.md` tells the whole of it.
//!
//! ```text
//! offset  0  u64  magic                 "RGNTGAT1", written last when the file is made
//!         8  u64  epoch
//!        16  u64  deadline              ns of CLOCK_BOOTTIME; 0 = closed
//!        24  u64  rpo                   ns; 0 or u64::MAX = a commit must be confirmed itself
//!        32  u64  opened by             incarnation of the agent that opened the gate
//!        40  u64  confirm               whose flush a commit needs: bit n, below 55, for the standby at place n;
//!                                       bit 55 for one that nobody is; bits 56 to 63: how many of them, 0 for all
//!        48  u64  confirm, too          likewise: both have to be satisfied; 0 asks for nobody
//!        56  u64  zero
//!        64  u64  who has place 0       64-bit FNV-1a of the instance's name; and so on for 55 places; 0: nobody yet
//!       504  ..   zero, up to 4096
//! ```
//!
//! A place, once somebody's, is never another's. So a WAL sender is known by the name it was called with, whatever
//! `synchronous_standby_names` says at the moment, and whatever of it a process has read.
//!
//! The two words of confirmation change one after the other, and readers look at them in the reverse order, the second first.
//! What is in force stands in the first, what shall follow it in the second; then the second is copied to the first, and only
//! then cleared. So a reader goes by what was asked at some moment while it read, and never by less.
//!
//! The gate is open while `now < deadline`. Under an rpo a commit is acknowledged when those who have to confirm have flushed
//! all that was acknowledged longer ago than that, instead of the commit itself. The words are read and written as single
//! atomic ones, so a reader never sees half of one. All numbers are in the machine's own byte order: the file is never
//! read on another machine.
//!
//! What is not here, on purpose: any decision about when to open or close.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use memmap2::{MmapOptions, MmapRaw};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use nix::time::{ClockId, clock_gettime};
use regent_core::agent::{MOST_PLACES, Words};
use regent_core::ids::InstanceName;
use thiserror::Error;

/// The value that says that a commit must be confirmed itself. Not 0, which an older gate would take for closed.
pub const NO_RPO: u64 = u64::MAX;

const SIZE: u64 = 4096;
const MAGIC: u64 = u64::from_le_bytes(*b"RGNTGAT1");

#[repr(C)]
struct Page {
    magic: AtomicU64,
    epoch: AtomicU64,
    deadline: AtomicU64,
    rpo: AtomicU64,
    opened_by: AtomicU64,
    confirm: [AtomicU64; 2],
    unused: AtomicU64,
    places: [AtomicU64; MOST_PLACES],
    reserved: [u8; SIZE as usize - 64 - 8 * MOST_PLACES],
}

// The other side of these asserts is in `client/gate/lease.c`.
const _: () = {
    assert!(std::mem::offset_of!(Page, epoch) == 8);
    assert!(std::mem::offset_of!(Page, deadline) == 16);
    assert!(std::mem::offset_of!(Page, rpo) == 24);
    assert!(std::mem::offset_of!(Page, opened_by) == 32);
    assert!(std::mem::offset_of!(Page, confirm) == 40);
    assert!(std::mem::offset_of!(Page, places) == 64);
    assert!(std::mem::size_of::<Page>() == SIZE as usize);
};

/// Why a lease file cannot be used.
#[derive(Debug, Error)]
pub enum GateError {
    /// The file system refused something.
    #[error("cannot {action} the lease file {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// There is a file, but not a lease file.
    #[error("{path} is not a lease file: it begins with {found:#018x} and has {size} bytes")]
    NotALeaseFile {
        /// The file.
        path: PathBuf,
        /// Its first eight bytes, as a number.
        found: u64,
        /// Its size.
        size: u64,
    },
    /// Another process has it open for writing. One Postgres has one agent.
    #[error("another process writes the lease file {path}")]
    Held {
        /// The file.
        path: PathBuf,
    },
}

/// What the lease file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The epoch of the lease, or of the last one if the gate is closed.
    pub epoch: u64,
    /// Until when, in nanoseconds of `CLOCK_BOOTTIME`; 0 when closed.
    pub deadline_ns: u64,
    /// How old an acknowledged commit may be that is not confirmed; [`NO_RPO`] if each must be confirmed itself.
    pub rpo_ns: u64,
    /// The incarnation of the agent that opened the gate last.
    pub opened_by: u64,
    /// Whose flush a commit needs.
    pub confirm: Words,
}

impl Lease {
    /// Whether a backend that looks at `now_ns` finds the gate open.
    pub fn is_open_at(&self, now_ns: u64) -> bool {
        now_ns < self.deadline_ns
    }
}

/// The agent's end of the gate: the one writer of a lease file.
///
/// Dropping it does not close the gate: an agent that is restarted in time leaves no trace in its Postgres, and one
/// that is not leaves a deadline that passes by itself. The file is never removed, renamed or truncated, because
/// backends keep the page mapped.
#[derive(Debug)]
pub struct LeaseFile {
    page: MmapRaw,
    // Held for its lock, which keeps a second agent out.
    _file: Flock<File>,
    incarnation: u64,
    is_tmpfs: bool,
    was_created: bool,
}

impl LeaseFile {
    /// Opens the lease file at `path`, or makes one that is closed.
    ///
    /// `incarnation` tells apart the lives of an agent; it is written when the gate is opened, not here. What an
    /// existing file says stays as it is: a lease that was running is running, and [`read`](Self::read) shows it.
    ///
    /// Everybody may read the file (there is no secret in it, and Postgres may run as another user), whatever the
    /// umask; only its owner may write.
    pub fn open(path: &Path, incarnation: u64) -> Result<LeaseFile, GateError> {
        let fail = |action| move |source| GateError::Io { path: path.to_owned(), action, source };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(path)
            .map_err(fail("open"))?;
        let file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
            nix::Error::EWOULDBLOCK => GateError::Held { path: path.to_owned() },
            other => fail("lock")(other.into()),
        })?;

        let size = file.metadata().map_err(fail("examine"))?.len();
        let was_created = size == 0;
        if was_created {
            file.set_permissions(PermissionsExt::from_mode(0o644)).map_err(fail("set the mode of"))?;
            file.set_len(SIZE).map_err(fail("extend"))?;
        } else if size != SIZE {
            // Mapping a short file would mean a bus error later.
            return Err(GateError::NotALeaseFile { path: path.to_owned(), found: first_word(&file), size });
        }
        let fs = fstatfs(&*file).map_err(|errno| fail("examine the file system of")(errno.into()))?;
        let page = MmapOptions::new().len(SIZE as usize).map_raw(&*file).map_err(fail("map"))?;

        let lease_file = LeaseFile {
            page,
            is_tmpfs: fs.filesystem_type() == TMPFS_MAGIC,
            _file: file,
            incarnation,
            was_created,
        };
        match lease_file.page().magic.load(SeqCst) {
            MAGIC => {}
            // New, or made by an agent that died before it came this far: nobody trusts it before the magic is there.
            0 => lease_file.initialize(),
            found => return Err(GateError::NotALeaseFile { path: path.to_owned(), found, size }),
        }
        Ok(lease_file)
    }

    fn initialize(&self) {
        let page = self.page();
        page.deadline.store(0, SeqCst);
        page.rpo.store(NO_RPO, SeqCst);
        page.magic.store(MAGIC, SeqCst);
    }

    /// Lets backends acknowledge commits under `epoch` until `deadline_ns` of `CLOCK_BOOTTIME`.
    ///
    /// A new epoch closes the gate first, so that nobody reads one epoch with the other's deadline.
    pub fn open_until(&self, epoch: u64, deadline_ns: u64) {
        let page = self.page();
        if page.epoch.load(SeqCst) != epoch {
            page.deadline.store(0, SeqCst);
            page.epoch.store(epoch, SeqCst);
        }
        page.opened_by.store(self.incarnation, SeqCst);
        page.deadline.store(deadline_ns, SeqCst);
    }

    /// Lets a commit be acknowledged when what was acknowledged longer ago than that is confirmed; `None`: when it is itself.
    pub fn set_rpo(&self, rpo: Option<Duration>) {
        let ns = rpo.map_or(NO_RPO, |rpo| u64::try_from(rpo.as_nanos()).unwrap_or(NO_RPO));
        self.page().rpo.store(ns, SeqCst);
    }

    /// Says whose the places are. To be called before [`set_confirm`](Self::set_confirm) asks for any of them.
    pub fn name_places(&self, places: &[InstanceName]) {
        for (word, name) in self.page().places.iter().zip(places) {
            word.store(fnv1a(name.as_str()), SeqCst);
        }
    }

    /// Lets a commit be acknowledged only when it is flushed where both words ask for it.
    pub fn set_confirm(&self, words: Words) {
        let [first, second] = &self.page().confirm;
        first.store(words.0[0], SeqCst);
        second.store(words.0[1], SeqCst);
    }

    /// Closes the gate. When this returns, every backend that begins a look finds it closed.
    ///
    /// A backend that had just looked may still send its acknowledgement after this; but the commit it acknowledges
    /// was in the WAL before, so a WAL position that is read after this call covers it.
    pub fn close(&self) {
        self.page().deadline.store(0, SeqCst);
    }

    /// What the file says now.
    pub fn read(&self) -> Lease {
        let page = self.page();
        Lease {
            deadline_ns: page.deadline.load(SeqCst),
            rpo_ns: page.rpo.load(SeqCst),
            epoch: page.epoch.load(SeqCst),
            opened_by: page.opened_by.load(SeqCst),
            confirm: Words([page.confirm[0].load(SeqCst), page.confirm[1].load(SeqCst)]),
        }
    }

    /// Whether the file is in memory. The gate ignores any other: a disk can block the agent, and a file that survives
    /// a boot holds a deadline of another boot's clock.
    pub fn is_tmpfs(&self) -> bool {
        self.is_tmpfs
    }

    /// Whether there was no file before. If Postgres is running nevertheless, somebody removed the file under it: its
    /// backends may still have the old one mapped, which nobody can close any more, until the last lease written there
    /// is over.
    pub fn was_created(&self) -> bool {
        self.was_created
    }

    fn page(&self) -> &Page {
        // SAFETY: the mapping is one page long (asserted above to be `Page`'s size), page-aligned and shared, lives as
        // long as `self`, and the file under it is never shortened. All that is touched in it is atomic.
        unsafe { &*self.page.as_ptr().cast::<Page>() }
    }
}

/// Nanoseconds of `CLOCK_BOOTTIME`, the clock of every deadline in the file. Agent and Postgres must be in one time
/// namespace (as they are unless somebody asked for others), or their clocks have different zeros.
pub fn boottime_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has had CLOCK_BOOTTIME since 2.6.39");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// The gate computes the same of the name that a standby connects with.
fn fnv1a(name: &str) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, mix)
}

fn first_word(file: &File) -> u64 {
    use std::os::unix::fs::FileExt;
    let mut word = [0; 8];
    match file.read_at(&mut word, 0) {
        Ok(_) => u64::from_ne_bytes(word),
        Err(_) => 0,
    }
}
