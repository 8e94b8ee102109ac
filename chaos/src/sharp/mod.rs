//! Builds of Regent that are wrong on purpose, each with the scenario in which the harness must find it out. The scenarios are
//! those that the right build passes: a check that cannot fail is no check.
//!
//! Rules of the core are switched off in the very functions of `regentd` and `regent-agent`, which `regent-chaos` then runs itself
//! ([`program`]); that needs a build with the cargo feature `mutants`, and what is shipped has none. What is not in the core is
//! taken away from under the program.
//!
//! What may not enter: a check of its own. A blunt build is found out by [`crate::check`], as anything else is.

mod command;
#[cfg(feature = "mutants")]
pub mod program;

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use regent_core::mutant::Mutant;

use crate::cluster::Process;
use crate::shim;
pub use command::{Args, run};

const NO_SYNC: &str = include_str!("nosync.c");

/// Whether rules can be switched off in this build.
pub const POSSIBLE: bool = cfg!(feature = "mutants");

/// A build that is wrong on purpose.
#[derive(Debug)]
pub struct Blunt {
    /// Its name.
    pub name: &'static str,
    /// What it does wrong.
    pub what: &'static str,
    /// Where that must be found.
    pub scenario: &'static str,
    /// What must not hold there: anything else may be the machine's fault, or the scenario's.
    pub breaks: &'static str,
    how: How,
}

#[derive(Debug)]
enum How {
    /// This rule is off.
    Rule(Mutant),
    /// The node's `fdatasync` does nothing.
    NoSync,
}

/// What is started in the place of a program.
#[derive(Debug, Default)]
pub struct Instead {
    /// Another program, in the run's directory.
    pub program: Option<&'static str>,
    /// What it is told first.
    pub args: Vec<&'static str>,
    /// A library in the run's directory that it has to load.
    pub preload: Option<&'static str>,
}

/// All of them.
pub static ALL: [Blunt; 5] = [
    Blunt {
        name: "no-gate",
        what: "Postgres acknowledges without a lease",
        scenario: "primary-cut-off",
        breaks: "S1 one writable primary",
        how: How::Rule(Mutant::NoGate),
    },
    Blunt {
        name: "votes-not-durable",
        what: "a vote is told before it is on the disk, and not put there",
        scenario: "voter-killed",
        breaks: "S2 epochs",
        how: How::Rule(Mutant::VoteNotDurable),
    },
    Blunt {
        name: "flush-without-fdatasync",
        what: "the store's own flush is trusted: what it acknowledged is in the kernel's memory only",
        scenario: "voter-loses-power",
        breaks: "S2 epochs",
        how: How::NoSync,
    },
    Blunt {
        name: "majority-too-small",
        what: "two witnesses of five count as a majority",
        scenario: "two-against-three",
        breaks: "S1 one writable primary",
        how: How::Rule(Mutant::MajorityTooSmall),
    },
    Blunt {
        name: "votes-right-after-restart",
        what: "a witness that was restarted does not wait for the promises that it has forgotten",
        scenario: "witness-restarts",
        breaks: "S1 one writable primary",
        how: How::Rule(Mutant::NoRestartWait),
    },
];

impl Blunt {
    /// The one of that name.
    pub fn named(name: &str) -> anyhow::Result<&'static Blunt> {
        let known = || ALL.iter().map(|blunt| blunt.name).collect::<Vec<_>>().join(", ");
        let found = ALL.iter().find(|blunt| blunt.name == name);
        let blunt = found.with_context(|| format!("no blunt build {name}: expected one of {}", known()))?;
        let possible = POSSIBLE || matches!(blunt.how, How::NoSync);
        ensure!(
            possible,
            "{name}: no rule can be switched off in this build; run\n    \
             cargo build --workspace --bins --features regent-chaos/mutants"
        );
        Ok(blunt)
    }

    /// What is started in the place of a node or an agent.
    pub fn instead_of(&self, process: Process) -> Instead {
        match (&self.how, process) {
            (How::Rule(rule), process) => {
                let which = if process == Process::Node { "node" } else { "agent" };
                Instead {
                    program: Some("regent-chaos"),
                    args: vec!["blunt", rule.name(), which],
                    preload: None,
                }
            }
            (How::NoSync, Process::Node) => Instead { preload: Some("nosync.so"), ..Instead::default() },
            (How::NoSync, Process::Agent) => Instead::default(),
        }
    }

    /// Puts what that needs where the run's programs are.
    pub fn lay(&self, programs: &Path, bin: &Path) -> anyhow::Result<()> {
        match self.how {
            How::Rule(_) => {
                fs::copy(programs.join("regent-chaos"), bin.join("regent-chaos"))?;
            }
            How::NoSync => drop(shim::compile(NO_SYNC, bin, "nosync")?),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check, scenario};

    #[test]
    fn each_has_a_scenario_that_there_is() {
        let all = scenario::all().unwrap();
        for blunt in &ALL {
            assert!(all.iter().any(|one| one.name == blunt.scenario), "{}: {}", blunt.name, blunt.scenario);
        }
    }

    #[test]
    fn each_breaks_a_theorem_that_is_judged() {
        let judged = check::judge(&check::testing::good());
        for blunt in &ALL {
            let known = judged.findings.iter().any(|finding| finding.theorem == blunt.breaks);
            assert!(known, "{}: {}", blunt.name, blunt.breaks);
        }
    }

    #[test]
    fn an_unknown_name_says_which_there_are() {
        let said = Blunt::named("nope").unwrap_err().to_string();
        assert!(
            said.contains("no blunt build nope") && said.contains("no-gate, votes-not-durable"),
            "{said}"
        );
    }
}
