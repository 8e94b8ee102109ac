//! Histories as text: a line an event, its words separated by spaces.
//!
//! ```text
//! log 1 a                      the log holds epoch 1 of a in the end
//! decide 10..20 2 b            voted for at 10, known at 20; `10..` when nobody was seen to know
//! read 25..30 2 b              asked at 25, answered at 30; `0` without a name: there never was a primary
//! told 25 2 b                  by a watch, or a local read
//! begun / begun 2              a watch begins, anew or after epoch 2
//! present 2 b / change 5 b jumped 3 4 / compacted
//! settled 5                    what a watcher must have been told of
//! ```

use regent_core::ids::{Epoch, InstanceName};
use regent_world::history::Log;
use regent_world::history::linearizable_assignment::Operation;
use regent_world::history::watch::{Event, What};

/// A history, read.
#[derive(Default)]
pub struct History {
    pub log: Log,
    pub operations: Vec<Operation>,
    pub events: Vec<Event>,
    pub settled: Option<Epoch>,
}

pub fn name(text: &str) -> InstanceName {
    InstanceName::new(text).expect("a name")
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("expected a number, got {text:?}"))
}

fn epoch(text: &str) -> Epoch {
    Epoch(number(text))
}

fn span(text: &str) -> (u64, Option<u64>) {
    let (begun, end) = text.split_once("..").expect("a span");
    (number(begun), (!end.is_empty()).then(|| number(end)))
}

pub fn read(text: &str) -> History {
    let mut history = History::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        history.take(line);
    }
    history
}

impl History {
    fn take(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let operation = match *words {
            ["decide", time, at, who] => {
                let (begun, known) = span(time);
                Operation::Decide { begun, epoch: epoch(at), primary: name(who), known }
            }
            ["read", time, at, ref who @ ..] => {
                let (begun, end) = span(time);
                let answer = who.first().map(|who| (epoch(at), name(who)));
                Operation::Read { begun, at: end.expect("an end"), answer }
            }
            ["told", time, at, who] => {
                Operation::Told { at: number(time), epoch: epoch(at), primary: name(who) }
            }
            ["log", at, who] => {
                self.log.insert(epoch(at), name(who));
                return;
            }
            ["settled", at] => return self.settled = Some(epoch(at)),
            _ => return self.events.push(Event { at: self.events.len() as u64, what: what(&words) }),
        };
        self.operations.push(operation);
    }
}

fn what(words: &[&str]) -> What {
    match *words {
        ["begun"] => What::Begun { from: None },
        ["begun", from] => What::Begun { from: Some(epoch(from)) },
        ["present", at, ref who @ ..] => {
            What::Present { epoch: epoch(at), primary: who.first().map(|who| name(who)) }
        }
        ["change", at, who, ref rest @ ..] => {
            let jumped = rest.iter().skip(1).map(|at| epoch(at)).collect();
            What::Changed { epoch: epoch(at), primary: name(who), jumped }
        }
        ["compacted"] => What::Compacted,
        _ => panic!("no such event: {words:?}"),
    }
}
