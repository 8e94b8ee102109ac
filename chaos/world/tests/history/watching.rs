//! Watches: each history with the sentences it must be found guilty of; none: it is good.

use super::text::read;
use regent_core::ids::Epoch;
use regent_world::history::watch::{Event, NAMED_AT_MOST, What, check};

const TABLE: &[(&str, &str, &[&str])] = &[
    ("nothing was watched", "log 1 a", &[]),
    (
        "every change in order",
        "log 1 a
         log 2 b
         log 3 a
         begun
         present 1 a
         change 2 b
         change 3 a
         settled 3",
        &[],
    ),
    (
        "a group that begins while it is watched",
        "log 1 a
         begun
         present 0
         change 1 a",
        &[],
    ),
    (
        "a certificate ahead of the log names what it jumps",
        "log 1 a
         log 5 c
         begun
         present 1 a
         change 5 c jumped 2 3 4",
        &[],
    ),
    (
        "a change hides what it jumps",
        "log 1 a
         log 2 b
         log 3 c
         begun
         present 1 a
         change 3 c",
        &["the change from epoch 1 to 3 jumps 2, but it names none"],
    ),
    (
        "a change names what it does not jump",
        "log 2 b
         log 3 c
         begun
         present 2 b
         change 3 c jumped 2",
        &["the change from epoch 2 to 3 jumps none, but it names 2"],
    ),
    (
        "a change told twice",
        "log 2 b
         begun
         present 1 a
         change 2 b
         change 2 b",
        &["the change to epoch 2 was told after 2"],
    ),
    (
        "a change told too late",
        "log 2 b
         log 3 c
         begun
         present 1 a
         change 3 c jumped 2
         change 2 b",
        &["the change to epoch 2 was told after 3"],
    ),
    (
        "a watch goes on where it was interrupted",
        "log 1 a
         log 2 b
         log 3 c
         log 4 a
         begun
         present 1 a
         change 2 b
         begun 2
         change 3 c
         change 4 a
         begun 4
         present 4 a
         settled 4",
        &[],
    ),
    (
        "a change is lost in the interruption",
        "log 1 a
         log 2 b
         log 3 c
         begun
         present 1 a
         begun 1
         change 3 c",
        &["the change from epoch 1 to 3 jumps 2, but it names none"],
    ),
    (
        "the present state in place of what was missed",
        "log 1 a
         log 3 c
         begun
         present 1 a
         begun 1
         present 3 c",
        &["the present epoch 3 was told in place of the changes after 1"],
    ),
    (
        "an interruption told again from before",
        "log 1 a
         log 2 b
         begun
         present 2 b
         begun 2
         present 1 a",
        &["the present epoch 1 was told after 2"],
    ),
    (
        "compacted, and said so",
        "log 1 a
         log 900 b
         begun
         present 1 a
         begun 1
         compacted
         present 900 b
         settled 900",
        &[],
    ),
    (
        "compacted, and then the past",
        "log 3 a
         begun
         present 3 a
         begun 3
         compacted
         present 2 b",
        &["the present epoch 2 was told after 3"],
    ),
    (
        "one who watches anew may ask a node that is behind",
        "log 3 a
         begun
         present 3 a
         begun
         present 2 b",
        &[],
    ),
    (
        "the present state in the middle",
        "log 2 b
         begun
         present 1 a
         present 2 b",
        &["the present epoch 2 was told in the middle of a watch"],
    ),
    (
        "another primary than the log's",
        "log 2 b
         begun
         present 1 a
         change 2 c",
        &["epoch 2 was told to be of c, in the log it is of b"],
    ),
    (
        "silence",
        "log 1 a
         log 2 b
         begun
         present 1 a
         settled 2",
        &["epoch 2 was never told, the last was 1"],
    ),
];

#[test]
fn each_history_is_found_to_be_what_it_is() {
    for (title, text, expected) in TABLE {
        let history = read(text);
        let found = check(&history.events, &history.log, history.settled);
        let sentences: Vec<&str> = found.iter().map(|violation| violation.sentence.as_str()).collect();
        assert_eq!(sentences, *expected, "{title}");
    }
}

/// More than a message can name may be jumped, but not what the log holds.
#[test]
fn a_long_jump_names_the_last_epochs_and_hides_none_of_the_log() {
    let to = NAMED_AT_MOST + 10;
    let jump = Event {
        at: 1,
        what: What::Changed {
            epoch: Epoch(to),
            primary: super::text::name("b"),
            jumped: (10..to).map(Epoch).collect(),
        },
    };
    let begun = || read("begun\npresent 1 a");
    let told = |log: &str| check(&[begun().events, vec![jump.clone()]].concat(), &read(log).log, None);
    assert_eq!(told("log 1 a\nlog 10 c"), []);
    let found = told("log 1 a\nlog 9 c");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].sentence, format!("epoch 9 is in the log, but the change from 1 to {to} hides it"));
}
