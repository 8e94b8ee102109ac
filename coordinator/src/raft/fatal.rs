//! The end of the process.
//!
//! After a failed write nobody knows what is on the disk, and a second fsync after a failed one succeeds and means nothing.
//! So there is no retry and no degraded mode: the process ends, and starts again from what was really written.

use std::fmt::Display;
use std::path::Path;

/// `EX_IOERR` of sysexits.h.
pub const EXIT_IO: i32 = 74;
/// `EX_SOFTWARE` of sysexits.h.
pub const EXIT_SOFTWARE: i32 = 70;

/// Ends the process because a file could not be written.
pub fn end_for_io(file: &Path, error: impl Display) -> ! {
    let file = file.display();
    end(
        EXIT_IO,
        &format!(
            "cannot write {file}: {error}. Ending, so that nothing is acknowledged that is not on disk. Check the disk and its free space, then start again"
        ),
    )
}

/// Ends the process because Raft has stopped for another reason than a request to stop.
pub fn end_for_raft(error: impl Display) -> ! {
    end(
        EXIT_SOFTWARE,
        &format!(
            "Raft has stopped: {error}. Ending, because a node without Raft would only look alive. Start it again"
        ),
    )
}

fn end(code: i32, line: &str) -> ! {
    // On the log and on stderr: the log may be on the very disk that failed.
    tracing::error!("{line}");
    eprintln!("regent: {line}");
    // Not `exit`: destructors would flush the store, and might wait for the very disk that failed.
    // SAFETY: `_exit` has no preconditions and does not return.
    unsafe { libc::_exit(code) }
}
