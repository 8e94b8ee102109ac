//! Reads of an assignment: each history with the sentences it must be found guilty of; none: it is good.

use super::text::read;
use regent_world::history::linearizable_assignment::check;

const TABLE: &[(&str, &str, &[&str])] = &[
    ("nothing happened", "", &[]),
    ("nobody was primary, nobody is told", "read 1..2 0", &[]),
    (
        "reads follow a decision",
        "log 1 a
         log 2 b
         read 1..2 1 a
         decide 10..20 2 b
         read 21..22 2 b
         read 23..24 2 b",
        &[],
    ),
    (
        "while it is being decided both answers are right, in order",
        "log 1 a
         log 2 b
         decide 10..40 2 b
         read 15..20 1 a
         read 25..45 2 b
         read 26..44 1 a",
        &[],
    ),
    (
        "an old answer after a new one was given",
        "log 1 a
         log 2 b
         decide 10..40 2 b
         read 12..15 2 b
         read 16..30 1 a",
        &["a read begun at 16 returned epoch 1, but 2 was known at 15"],
    ),
    (
        "an old answer after the decision was known",
        "log 1 a
         log 2 b
         decide 10..20 2 b
         read 21..30 1 a",
        &["a read begun at 21 returned epoch 1, but 2 was known at 20"],
    ),
    (
        "an old answer after a watcher was told",
        "log 1 a
         log 2 b
         decide 10..90 2 b
         told 30 2 b
         read 31..40 1 a",
        &["a read begun at 31 returned epoch 1, but 2 was known at 30"],
    ),
    (
        "a watcher may be told late",
        "log 1 a
         log 2 b
         decide 10..20 2 b
         told 30 1 a",
        &[],
    ),
    ("the same instant is no order", "log 1 a\nlog 2 b\ndecide 10..20 2 b\nread 20..30 1 a", &[]),
    (
        "an answer before anybody voted",
        "log 1 a
         log 2 b
         decide 10..20 2 b
         read 5..9 2 b",
        &["epoch 2 of b was shown before anybody voted for it, at 10"],
    ),
    (
        "an answer from nowhere",
        "log 1 a
         read 5..9 2 b",
        &["epoch 2 of b was shown, and nobody voted for it"],
    ),
    (
        "nobody was ever primary, after somebody was",
        "log 1 a
         read 1..2 1 a
         read 3..4 0",
        &["a read begun at 3 returned epoch 0, but 1 was known at 2"],
    ),
    (
        "an epoch with two primaries",
        "log 1 a
         log 2 b
         decide 10..20 2 b
         decide 10..30 2 c",
        &["epoch 2 has two primaries: b and c"],
    ),
    (
        "the log has the last word on whose an epoch is",
        "log 1 a
         log 2 b
         decide 10.. 2 b
         read 15..20 2 c",
        &["epoch 2 has two primaries: b and c"],
    ),
    (
        "votes for two are no conflict while one is decided",
        "log 1 a
         log 2 b
         decide 10.. 2 c
         decide 10..20 2 b
         read 21..30 2 b",
        &[],
    ),
    (
        "an ambiguous decision took effect when somebody saw it, whatever the log says",
        "log 1 a
         decide 10.. 2 b
         read 15..20 2 b
         read 21..30 1 a",
        &["a read begun at 21 returned epoch 1, but 2 was known at 20"],
    ),
    (
        "an ambiguous decision that nobody saw did not",
        "log 1 a
         log 3 c
         decide 10.. 2 b
         decide 40..50 3 c
         read 21..30 1 a
         read 51..60 3 c",
        &[],
    ),
    (
        "a decision that comes late changes nothing",
        "log 1 a
         log 3 c
         decide 10..90 2 b
         decide 20..30 3 c
         read 40..50 3 c",
        &[],
    ),
    (
        "a lower epoch was voted for when a higher one was known: nobody can have read it",
        "log 1 a
         decide 5..10 3 c
         decide 20..30 2 b
         read 1..40 2 b",
        &["a read returned epoch 2, voted for at 20, but 3 was known at 10"],
    ),
    (
        "two epochs back",
        "log 1 a
         log 2 b
         log 3 c
         decide 10..20 2 b
         decide 30..40 3 c
         read 50..60 1 a
         read 50..60 2 b",
        &[
            "a read begun at 50 returned epoch 1, but 2 was known at 20",
            "a read begun at 50 returned epoch 2, but 3 was known at 40",
        ],
    ),
];

#[test]
fn each_history_is_found_to_be_what_it_is() {
    for (title, text, expected) in TABLE {
        let history = read(text);
        let found = check(&history.operations, &history.log);
        let sentences: Vec<&str> = found.iter().map(|violation| violation.sentence.as_str()).collect();
        assert_eq!(sentences, *expected, "{title}");
    }
}
