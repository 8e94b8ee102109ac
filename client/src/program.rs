//! Programs that the agent runs beside Postgres: each in a process group of its own, so that one that is given up is ended with
//! all that it has started. What a program is told and what its end means is for the callers.

use crate::work::Work;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::convert::Infallible;
use std::fs;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::process::{Child, Command};

/// How often it is looked whether a program does something.
const LOOK: Duration = Duration::from_secs(1);
/// How long the end of what was killed is waited for; a process that waits for a frozen disk takes longer.
const END: Duration = Duration::from_secs(5);

/// A program that runs. Dropped, it is killed, with its whole process group.
pub(crate) struct Running {
    pub(crate) child: Child,
    group: Group,
    ended: bool,
    /// What it is a part of.
    work: Option<Work>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> io::Result<Running> {
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).ok_or(io::ErrorKind::NotFound)?;
        Ok(Running { child, group: Group(Pid::from_raw(group)), ended: false, work: Work::current() })
    }

    /// Waits for its end. What it has left running goes on.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.ended = true;
        Ok(status)
    }

    /// Waits for its end, and ends what it has left running.
    pub(crate) async fn wait_for_all(&mut self) -> io::Result<ExitStatus> {
        let status = self.wait().await?;
        self.group.kill();
        Ok(status)
    }

    /// Waits for its end for so long; `None`: it had to be killed.
    pub(crate) async fn within(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let signs = self.signs(true);
        let waited = tokio::time::timeout(limit, async {
            tokio::select! {
                status = self.wait() => status,
                never = signs => match never {},
            }
        });
        match waited.await {
            Ok(status) => status.map(Some),
            Err(_) => {
                self.end().await;
                Ok(None)
            }
        }
    }

    /// Kills it, and returns when nothing is left of its group, or a few seconds have passed.
    pub(crate) async fn end(&mut self) {
        self.group.kill();
        let _ = tokio::time::timeout(END, async {
            let _ = self.child.wait().await; // killed: how it ended says nothing
            self.group.gone().await;
            self.ended = true;
        })
        .await;
    }

    /// Says that the work goes on for as long as the program does something: it, or one of its group, uses the processor. One
    /// that has a time limit of its own needs no other sign.
    pub(crate) fn signs(&self, limited: bool) -> impl Future<Output = Infallible> + use<> {
        let (group, work) = (self.group, self.work.clone());
        async move {
            let Some(work) = work else { return std::future::pending().await };
            let mut before = 0;
            loop {
                let worked = group.worked();
                if limited || worked != before {
                    work.goes_on();
                }
                before = worked;
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.group.kill();
        // Killed is not yet gone: until then nothing may be begun where it writes.
        if let (Some(work), Ok(runtime)) = (self.work.take(), tokio::runtime::Handle::try_current()) {
            let (group, held) = (self.group, work.hold());
            runtime.spawn(async move {
                group.gone().await;
                drop(held);
            });
        }
    }
}

/// A process group.
#[derive(Clone, Copy)]
struct Group(Pid);

impl Group {
    fn kill(self) {
        let _ = killpg(self.0, Signal::SIGKILL); // it may have ended at this moment
    }

    async fn gone(self) {
        while self.members().next().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How much of the processor its members have used, in ticks.
    fn worked(self) -> u64 {
        self.members().map(|member| member.ticks).sum()
    }

    /// Who has not ended. A dead process that nobody has collected yet does nothing any more.
    fn members(self) -> impl Iterator<Item = Member> {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let named = processes.filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit());
        let members = named.filter_map(|entry| member(&fs::read_to_string(entry.path().join("stat")).ok()?));
        members.filter(move |member| member.group == self.0.as_raw() && !member.dead)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Member {
    group: i32,
    dead: bool,
    ticks: u64,
}

/// A line of `/proc/<pid>/stat`: `pid (name) state parent group ...`; the name may hold anything.
fn member(stat: &str) -> Option<Member> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Member {
        group: fields.get(2)?.parse().ok()?,
        dead: matches!(*fields.first()?, "Z" | "X"),
        // Its own, and that of its children that have ended.
        ticks: (11..15).map(number).sum::<Option<u64>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "41 (a) b (c) S 1 40 40 0 -1 4194560 95 0 0 0 3 2 1 4 20 0 1 0 88";
        assert_eq!(member(stat), Some(Member { group: 40, dead: false, ticks: 10 }));
        assert!(member(&stat.replace(" S ", " Z ")).unwrap().dead);
        assert_eq!(member("41 (a) S 1"), None);
    }

    #[tokio::test]
    async fn what_is_dropped_is_ended_with_its_children_before_the_work_counts_as_ended() {
        let left = tokio_util::task::TaskTracker::new();
        left.close();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 1000 & wait"]);
        let group = Work::new(&left)
            .carry_out(async {
                let running = Running::start(&mut command).unwrap();
                while running.group.members().count() < 2 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                running.group
            })
            .await;
        left.wait().await;
        assert_eq!(group.members().count(), 0);
    }
}
