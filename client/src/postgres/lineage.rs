//! Whether two instances that both speak of "timeline 3" mean the same one.
//!
//! Postgres numbers a timeline when it promotes: one more than the newest it has heard of. Two instances promoted from the same
//! ancestor, neither having heard of the other, give two different histories one number, and `pg_rewind` takes them for one.
//! Promotions by the agent do not (`timelines`); one by hand, or by an agent that did not number them yet, does.
//! What tells them apart is the first record that each wrote: it carries the instant of its promotion.

use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

use super::error::PostgresError;
use super::lsn::Lsn;
use super::settings::Upstream;
use super::timelines::history_name;
use super::upstream::UpstreamFacts;
use super::{Cluster, ControlState, Server, files};

/// Enough for the first record of a timeline and the page header before it.
const MARK: u64 = 256;

/// A timeline and where it begins, oldest first.
pub(super) type Lineage = Vec<(u32, Lsn)>;

impl Server {
    /// Why this instance's history and the upstream's only look like one, if that is so.
    pub(super) async fn twins(
        &self,
        upstream: &Upstream,
        cluster: &Cluster,
        facts: &UpstreamFacts,
    ) -> Result<Option<String>, PostgresError> {
        let (here, there) = self.lineages(upstream, cluster, facts).await?;
        let common = here.iter().zip(&there).take_while(|(a, b)| a == b).last().map(|(at, _)| *at);
        let Some((timeline, begin)) = common else {
            return Ok(Some("it has no timeline in common with its upstream".into()));
        };
        let same_number = cluster.timeline == facts.timeline && cluster.timeline != timeline;
        let differ = timeline > 1 && self.marks_same(upstream, timeline, begin).await? == Some(false);
        if same_number || differ {
            let twin = if same_number { cluster.timeline } else { timeline };
            return Ok(Some(format!("timeline {twin} here is another than timeline {twin} of its upstream")));
        }
        Ok(None)
    }

    /// The timelines of this instance, and those of the upstream.
    pub(super) async fn lineages(
        &self,
        upstream: &Upstream,
        cluster: &Cluster,
        facts: &UpstreamFacts,
    ) -> Result<(Lineage, Lineage), PostgresError> {
        let here = parse(cluster.timeline, &self.local_history(cluster.timeline).await?);
        let there = parse(facts.timeline, &self.history_at(upstream, facts.timeline).await?);
        Ok((here, there))
    }

    /// Compares the beginning of a timeline here and there. `None` where it is no longer kept on either side: it is long ago,
    /// and what was promoted apart is told apart when it meets again, which is then.
    pub(super) async fn marks_same(
        &self,
        upstream: &Upstream,
        timeline: u32,
        begin: Lsn,
    ) -> Result<Option<bool>, PostgresError> {
        let size =
            self.put_question(upstream, "select pg_size_bytes(current_setting('wal_segment_size'))").await?;
        let Ok(size) = size.parse::<u64>() else { return Ok(None) };
        let (name, offset) = (segment(timeline, begin, size), begin.0 % size);
        let length = MARK.min(size - offset);
        let question =
            format!("select encode(pg_read_binary_file('pg_wal/{name}', {offset}, {length}, true), 'hex')");
        let there = self.put_question(upstream, &question).await?;
        let path = self.data_dir().join("pg_wal").join(name);
        let here = files::off_thread(move || {
            let mut bytes = vec![0; length as usize];
            match std::fs::File::open(&path).and_then(|file| file.read_exact_at(&mut bytes, offset)) {
                Ok(()) => Ok(Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) => {
                    Ok(None)
                }
                Err(source) => Err(PostgresError::File { what: "read", path, source }),
            }
        })
        .await?;
        Ok(here.filter(|_| !there.is_empty()).map(|here| here == there))
    }

    /// Whether this instance, a primary that was shut down cleanly, wrote nothing after the upstream's next timeline began: its
    /// shutdown checkpoint is the last that it wrote. To be asked once [`Server::twins`] has found none.
    pub(super) async fn ended_before(
        &self,
        upstream: &Upstream,
        cluster: &Cluster,
        facts: &UpstreamFacts,
    ) -> Result<bool, PostgresError> {
        let (here, there) = self.lineages(upstream, cluster, facts).await?;
        let whole = shared(&here, &there) == here.len();
        let clean =
            cluster.state == ControlState::ShutDown && cluster.checkpoint_timeline == cluster.timeline;
        let before = there.get(here.len()).is_some_and(|(_, begin)| cluster.checkpoint < *begin);
        let Some((timeline, begin)) = here.last().copied().filter(|_| clean && whole && before) else {
            return Ok(false);
        };
        // Seen to be the same timeline, and not only of the same number.
        Ok(timeline == 1 || self.marks_same(upstream, timeline, begin).await? == Some(true))
    }

    async fn local_history(&self, timeline: u32) -> Result<String, PostgresError> {
        let path = self.data_dir().join("pg_wal").join(history_name(timeline));
        files::off_thread(move || match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
            Err(source) => Err(PostgresError::File { what: "read", path, source }),
        })
        .await
    }

    async fn history_at(&self, upstream: &Upstream, timeline: u32) -> Result<String, PostgresError> {
        let name = history_name(timeline);
        let question =
            format!("select convert_from(pg_read_binary_file('pg_wal/{name}', 0, 1000000, true), 'UTF8')");
        self.put_question(upstream, &question).await
    }
}

/// How many timelines, from the oldest on, are the same.
pub(super) fn shared(here: &Lineage, there: &Lineage) -> usize {
    here.iter().zip(there).take_while(|(a, b)| a == b).count()
}

/// The name of the segment with that position in it.
pub(super) fn segment(timeline: u32, at: Lsn, size: u64) -> String {
    let (number, in_4_gib) = (at.0 / size, (1 << 32) / size);
    format!("{timeline:08X}{:08X}{:08X}", number / in_4_gib, number % in_4_gib)
}

/// A history file says of each ancestor where it ended, which is where the next began.
fn parse(timeline: u32, history: &str) -> Lineage {
    let ends = history.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    let mut begin = Lsn(0);
    let mut lineage: Lineage =
        ends.map(|(ancestor, end)| (ancestor, std::mem::replace(&mut begin, end))).collect();
    lineage.push((timeline, begin));
    lineage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_becomes_timelines_and_their_beginnings() {
        let history =
            "1\t0/50353B0\tno recovery target specified\n\n2\t0/5098A78\tno recovery target specified\n";
        let expected = vec![(1, Lsn(0)), (2, Lsn(0x50353B0)), (3, Lsn(0x5098A78))];
        assert_eq!(parse(3, history), expected);
        assert_eq!(parse(1, ""), vec![(1, Lsn(0))]);
    }

    #[test]
    fn a_segment_is_named_as_postgres_names_it() {
        assert_eq!(segment(3, Lsn(0x5098A78), 16 << 20), "000000030000000000000005");
        assert_eq!(segment(10, Lsn((7 << 32) + (0xfe << 24)), 16 << 20), "0000000A00000007000000FE");
    }
}
