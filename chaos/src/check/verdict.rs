//! What a run came to.

use serde::Serialize;

/// Of a whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All holds, and it counts.
    Holds,
    /// Something is broken.
    Broken,
    /// It says nothing: it is no pass, and no failure.
    Invalid,
}

/// Of one theorem.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Its name.
    pub theorem: &'static str,
    /// Whether it must hold however late the machine was.
    pub safety: bool,
    /// What was seen, if it holds.
    pub words: String,
    /// What breaks it, a sentence each.
    pub broken: Vec<String>,
}

/// `verdict.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Which scenario.
    pub scenario: String,
    /// Where its chance began.
    pub seed: u64,
    /// Revision of the code that ran.
    pub revision: String,
    /// The command that runs it again.
    pub again: String,
    /// All in all.
    pub outcome: Outcome,
    /// Why it counts for nothing, if so.
    pub invalid: Vec<String>,
    /// Rows acknowledged.
    pub acknowledged: usize,
    /// The longest time without an acknowledgement to any client, from the first fault on.
    pub gap_ms: f64,
    /// Theorem by theorem.
    pub findings: Vec<Finding>,
}

impl Finding {
    /// Of what must never be, whatever is slow.
    pub fn safety(theorem: &'static str, words: String, broken: Vec<String>) -> Finding {
        Finding { theorem, safety: true, words, broken }
    }

    /// Of what must be in time: a machine that is too busy may be the cause when it is not.
    pub fn liveness(theorem: &'static str, words: String, broken: Vec<String>) -> Finding {
        Finding { theorem, safety: false, words, broken }
    }

    /// Whether it holds.
    pub fn holds(&self) -> bool {
        self.broken.is_empty()
    }
}

impl Outcome {
    /// Of all findings, and of what makes a run invalid.
    pub fn of(findings: &[Finding], invalid: &[String]) -> Outcome {
        let broken = |safety: bool| findings.iter().any(|one| one.safety == safety && !one.holds());
        match (broken(true), invalid.is_empty(), broken(false)) {
            (true, ..) | (false, true, true) => Outcome::Broken,
            (false, false, _) => Outcome::Invalid,
            (false, true, false) => Outcome::Holds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_run_is_invalid_unless_safety_is_broken() {
        let good = || Finding::safety("S", "fine".into(), Vec::new());
        let unsafe_ = || Finding::safety("S", String::new(), vec!["broken".into()]);
        let slow = || Finding::liveness("L", String::new(), vec!["late".into()]);
        let late = ["late".to_owned()];
        assert_eq!(Outcome::of(&[good()], &[]), Outcome::Holds);
        assert_eq!(Outcome::of(&[good(), slow()], &[]), Outcome::Broken);
        assert_eq!(Outcome::of(&[good(), slow()], &late), Outcome::Invalid);
        assert_eq!(Outcome::of(&[good()], &late), Outcome::Invalid);
        assert_eq!(Outcome::of(&[unsafe_()], &late), Outcome::Broken);
    }
}
