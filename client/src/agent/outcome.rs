//! How a piece of work on Postgres ended: by itself, by a panic in it, or given up because it showed no sign of going on.

use crate::work::Work;
use std::future::Future;
use std::time::Duration;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

/// How long work that is given up may take to notice it.
const NOTICE: Duration = Duration::from_secs(1);

/// Waits for the end of the work: its own, a panic in it, or that it is given up because it shows no sign of going on.
pub(super) async fn outcome(
    work: Work,
    patience: Duration,
    doing: impl Future<Output = Result<(), String>> + Send + 'static,
) -> Result<(), String> {
    let mut task = AbortOnDropHandle::new(tokio::spawn(work.clone().carry_out(doing)));
    let ended = loop {
        match tokio::time::timeout(patience.saturating_sub(work.silent()), &mut task).await {
            Ok(ended) => break ended,
            Err(_) if work.silent() < patience => {}
            Err(_) => {
                task.abort();
                // One that blocks its thread does not even notice; it counts as under way until it does.
                match tokio::time::timeout(NOTICE, &mut task).await {
                    Ok(ended) => break ended,
                    Err(_) => return Err(given_up(patience)),
                }
            }
        }
    };
    match ended {
        Ok(result) => result,
        Err(error) if error.is_cancelled() => Err(given_up(patience)),
        Err(error) => Err(defect(error)),
    }
}

fn given_up(patience: Duration) -> String {
    format!("given up and ended: it showed no sign of going on for {}", humantime::format_duration(patience))
}

/// The place and the words of the panic are in the log already: whoever mends it needs them, whoever runs it does not.
fn defect(error: JoinError) -> String {
    if error.is_cancelled() {
        return "ended with the agent".to_owned();
    }
    tracing::error!("a task on Postgres ended by the defect of regent-agent named above; it is tried again");
    "ended by a defect of regent-agent: its log names the place, to be reported".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_util::task::TaskTracker;

    const LONG: Duration = Duration::from_secs(600);

    fn tracker() -> TaskTracker {
        let left = TaskTracker::new();
        left.close();
        left
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_in_plain_words() {
        let left = tracker();
        let why = outcome(Work::new(&left), LONG, async { panic!("on purpose") }).await.unwrap_err();
        assert_eq!(why, "ended by a defect of regent-agent: its log names the place, to be reported");
        assert!(left.is_empty());
    }

    #[tokio::test]
    async fn what_ends_by_itself_says_how() {
        let left = tracker();
        assert_eq!(outcome(Work::new(&left), LONG, async { Ok(()) }).await, Ok(()));
        let failed = outcome(Work::new(&left), LONG, async { Err("no room".to_owned()) }).await;
        assert_eq!(failed, Err("no room".to_owned()));
    }

    #[tokio::test]
    async fn only_silence_is_given_up() {
        let left = tracker();
        let silent = outcome(Work::new(&left), Duration::from_millis(30), std::future::pending()).await;
        assert_eq!(silent, Err("given up and ended: it showed no sign of going on for 30ms".to_owned()));
        left.wait().await;
    }

    #[tokio::test]
    async fn signs_keep_it_going_for_as_long_as_they_come() {
        let left = tracker();
        let work = Work::new(&left);
        let patience = Duration::from_millis(500);
        let goes_on = async move {
            let begin = std::time::Instant::now();
            while begin.elapsed() < 3 * patience {
                crate::work::goes_on();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        };
        assert_eq!(outcome(work, patience, goes_on).await, Ok(()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_ended_counts_as_under_way_until_it_has_ended() {
        let left = tracker();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let blocks = async move {
            let _ = ended.recv();
            Ok(())
        };
        outcome(Work::new(&left), Duration::from_millis(30), blocks).await.unwrap_err();
        assert!(!left.is_empty());
        drop(end);
        left.wait().await;
    }
}
