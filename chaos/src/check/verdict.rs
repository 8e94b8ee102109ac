//! What a run came to.

use serde::Serialize;

/// Of a whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All holds. Links that are a little late take nothing from that: it is harder to be in time over them.
    Holds,
    /// Something is broken.
    Broken,
    /// What must never be was not; something was not in time, and late links may be why.
    Safe,
    /// It says nothing, since clients did too little, or links were so late that they were others: it is no pass, and no failure.
    Invalid,
}

/// Of one theorem.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Its name.
    pub theorem: &'static str,
    /// Whether a machine that was too busy may be why it does not hold.
    pub timed: bool,
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
    /// How late the links were, or how slow the disk, if so much that it may be why something was not in time.
    pub late: Option<String>,
    /// Who did too little, a sentence each.
    pub idle: Vec<String>,
    /// Rows acknowledged.
    pub acknowledged: usize,
    /// The longest time without an acknowledgement to any client, from the first fault on.
    pub gap_ms: f64,
    /// Theorem by theorem.
    pub findings: Vec<Finding>,
}

impl Finding {
    /// Of what must be so, whatever is slow.
    pub fn always(theorem: &'static str, words: String, broken: Vec<String>) -> Finding {
        Finding { theorem, timed: false, words, broken }
    }

    /// Of what must be so in time.
    pub fn in_time(theorem: &'static str, words: String, broken: Vec<String>) -> Finding {
        Finding { theorem, timed: true, words, broken }
    }

    /// Whether it holds.
    pub fn holds(&self) -> bool {
        self.broken.is_empty()
    }
}

impl Outcome {
    /// Of all findings, of whether the machine was late, and of whether the run was too unlike what was asked for to say anything.
    pub fn of(findings: &[Finding], late: bool, unlike: bool) -> Outcome {
        let broken = |timed: bool| findings.iter().any(|one| one.timed == timed && !one.holds());
        match (broken(false), unlike, late, broken(true)) {
            (true, ..) => Outcome::Broken,
            (_, true, ..) => Outcome::Invalid,
            (_, _, true, true) => Outcome::Safe,
            (_, _, false, true) => Outcome::Broken,
            _ => Outcome::Holds,
        }
    }

    /// In a word, for people.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Holds => "holds",
            Outcome::Broken => "BROKEN",
            Outcome::Safe => "safe",
            Outcome::Invalid => "invalid",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_excuses_what_must_be_in_time_and_nothing_else() {
        let good = || Finding::always("S", "fine".into(), Vec::new());
        let unsafe_ = || Finding::always("S", String::new(), vec!["broken".into()]);
        let slow = || Finding::in_time("L", String::new(), vec!["late".into()]);
        for (findings, late, unlike, outcome) in [
            (vec![good()], false, false, Outcome::Holds),
            (vec![good(), slow()], false, false, Outcome::Broken),
            (vec![good(), slow()], true, false, Outcome::Safe),
            (vec![good()], true, false, Outcome::Holds),
            (vec![good(), slow()], false, true, Outcome::Invalid),
            (vec![good(), slow()], true, true, Outcome::Invalid),
            (vec![good()], false, true, Outcome::Invalid),
            (vec![unsafe_()], true, true, Outcome::Broken),
        ] {
            assert_eq!(
                Outcome::of(&findings, late, unlike),
                outcome,
                "{findings:?}, late {late}, unlike {unlike}"
            );
        }
    }
}
