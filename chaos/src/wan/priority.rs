//! A network has no share in its hosts' processors: its thread goes first.

/// Real-time priority, else the best niceness there is, else none: the measured lateness tells how well it went.
pub(super) fn raise() {
    let lowest_real_time = libc::sched_param { sched_priority: 1 };
    // SAFETY: plain system calls on the calling thread; the parameter outlives the call.
    unsafe {
        let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
        if libc::sched_setscheduler(0, policy, &lowest_real_time) != 0 {
            libc::setpriority(libc::PRIO_PROCESS, 0, -20);
        }
    }
}
