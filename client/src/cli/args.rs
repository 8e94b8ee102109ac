//! The command line.

use super::print::Format;
use clap::{Parser, Subcommand};
use regent_core::ids::{GroupName, InstanceName, RegionName};
use regent_core::replication::{Mode, Policy};
use regent_core::switchover::MOST_WAIT;
use std::time::Duration;

const EXIT_CODES: &str = "Exit codes:
  0  done; for `status`: all is well
  1  the answer is bad: `status` found trouble, `primary` found none yet, `replicas` found none
  2  the command line or its input is wrong
  3  no such group, instance or node
  4  no node could be reached, or none was able to; nothing was changed
  5  in transition, late or failed: what was asked may or may not take effect
  6  refused: the name is taken, or it cannot be done as things stand; nothing was changed";

/// Shows and steers who is primary of each group of Postgres servers.
#[derive(Debug, Parser)]
#[command(name = "regent", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Args {
    /// Nodes to ask, host:port, separated by commas; any of them will do.
    #[arg(
        long,
        global = true,
        value_delimiter = ',',
        env = "REGENT_ENDPOINTS",
        value_name = "HOST:PORT,..."
    )]
    pub endpoints: Vec<String>,
    /// How long the whole command may take to get its answer, such as 800ms, 5s or 1m.
    #[arg(long, global = true, value_parser = span, default_value = "5s", value_name = "SPAN")]
    pub timeout: Duration,
    /// How to print the answer.
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    pub output: Format,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Nodes, groups, instances, and who would take over; troubles first.
    Status {
        /// Only this group.
        group: Option<GroupName>,
    },
    /// Where the primary of a group is reached, as host:port on one line.
    Primary {
        /// The group.
        group: GroupName,
        /// What the asked node knows, at once, rather than what a majority confirms.
        #[arg(long)]
        local: bool,
    },
    /// The standbys that can be read from, as host:port one a line, the one least behind first.
    Replicas {
        /// The group.
        group: GroupName,
    },
    /// Prints every change of primary as it happens, one a line, until interrupted.
    Watch {
        /// Only these groups.
        groups: Vec<GroupName>,
    },
    /// The changes of primary of a group, oldest first: when, to whom, why, by whose votes.
    History {
        /// The group.
        group: GroupName,
    },
    /// Moves the primary of a group, planned: commits wait meanwhile, none fails, none is lost.
    Switchover {
        /// The group.
        group: GroupName,
        /// The new primary, or its region; without it, the heir.
        #[arg(long, value_name = "INSTANCE|REGION")]
        to: Option<InstanceName>,
        /// Wait in this terminal until then: HH:MM[:SS] in UTC, or RFC 3339 with a zone.
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// How long the checkpoint and the new primary's catching up may take, while commits pass: 1ms to 50s.
        #[arg(long, value_name = "SPAN", value_parser = wait, default_value = "5s")]
        wait: Duration,
        /// Say what would be done, and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
    /// Moves every primary out of a region, two at a time, and keeps it free of them until `undrain`; waits for it.
    Drain {
        /// The region.
        region: RegionName,
        /// How long to wait until it is free; it goes on afterwards.
        #[arg(long, value_name = "SPAN", value_parser = span, default_value = "1m")]
        wait: Duration,
    },
    /// Lets a drained region have primaries again; none is moved back.
    Undrain {
        /// The region.
        region: RegionName,
    },
    /// Creates and lists groups.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Steers Raft's leader, which no write of any group depends on.
    #[command(subcommand)]
    Leader(LeaderCommand),
    /// Changes which nodes govern a group, one at a time, and waits until they do.
    Electorate {
        /// The group.
        group: GroupName,
        /// The ids of the nodes, separated by commas.
        #[arg(value_delimiter = ',', required = true, value_name = "NODE,...")]
        nodes: Vec<u64>,
    },
}

#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Creates a group; its instances join when their agents start.
    Create {
        /// Its name.
        name: GroupName,
        /// The first primary; without it, the first instance that reports.
        #[arg(long, value_name = "INSTANCE")]
        first: Option<InstanceName>,
        /// How long a promise lasts, in milliseconds; without it, 250.
        #[arg(long, value_name = "MS")]
        ttl_ms: Option<u64>,
        /// How long the primary may be silent before it is voted out, in milliseconds; without it, 150 more than the ttl.
        #[arg(long, value_name = "MS")]
        suspicion_ms: Option<u64>,
        /// How far behind a standby may be and still take over, in bytes of WAL; without it, 16777216.
        #[arg(long, value_name = "BYTES")]
        max_promotion_lag: Option<u64>,
        /// When a commit is acknowledged: async, sync, bounded, or quorum; without it, async.
        #[arg(long, value_name = "MODE")]
        mode: Option<Mode>,
        /// In sync, bounded and quorum: how many standbys confirm commits; without it, 1.
        #[arg(long, visible_alias = "quorum-count", value_name = "N", requires = "mode")]
        sync_count: Option<u8>,
        /// In bounded: how old an acknowledged commit may be that is lost, from 10ms to 60s; without it, 100ms.
        #[arg(long, value_name = "SPAN", requires = "mode", value_parser = span)]
        rpo: Option<Duration>,
        /// In sync, bounded and quorum, while nobody confirms: block commits, or degrade to the primary alone; without it, block.
        #[arg(long, value_name = "POLICY")]
        policy: Option<Policy>,
        /// The ids of the nodes that govern it, separated by commas; without it, all nodes.
        #[arg(long, value_delimiter = ',', value_name = "NODE,...")]
        electorate: Option<Vec<u64>>,
    },
    /// Changes when commits are acknowledged, step by step and without a restart.
    Set {
        /// The group.
        name: GroupName,
        /// async, sync, bounded, or quorum.
        #[arg(long, value_name = "MODE")]
        mode: Mode,
        /// In sync, bounded and quorum: how many standbys confirm commits; without it, 1.
        #[arg(long, visible_alias = "quorum-count", value_name = "N")]
        sync_count: Option<u8>,
        /// In bounded: how old an acknowledged commit may be that is lost, from 10ms to 60s; without it, 100ms.
        #[arg(long, value_name = "SPAN", value_parser = span)]
        rpo: Option<Duration>,
        /// In sync, bounded and quorum, while nobody confirms: block commits, or degrade to the primary alone; without it, as it is.
        #[arg(long, value_name = "POLICY")]
        policy: Option<Policy>,
    },
    /// All groups, as the log has them.
    List,
}

#[derive(Debug, Subcommand)]
pub enum LeaderCommand {
    /// Moves the Raft leadership to a node and waits until it leads.
    Transfer {
        /// The node's id.
        node: u64,
    },
}

fn span(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let range = Duration::from_millis(1)..=Duration::from_secs(3_600);
    if range.contains(&span) { Ok(span) } else { Err("expected 1ms to 1h".to_owned()) }
}

fn wait(text: &str) -> Result<Duration, String> {
    let wait = span(text)?;
    if wait <= MOST_WAIT { Ok(wait) } else { Err(format!("expected 1ms to {}s", MOST_WAIT.as_secs())) }
}
