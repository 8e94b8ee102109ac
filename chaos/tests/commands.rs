//! The proofs' commands, as a person meets them: what is refused is refused in words, and nothing is called sound that was
//! not looked at.

use std::process::{Command, Stdio};

/// How a command ends.
struct Case {
    line: &'static str,
    code: i32,
    says: &'static str,
}

const CASES: [Case; 13] = [
    Case { line: "sim --profile small --seed 3", code: 0, says: "recovery of every group was demanded in" },
    Case { line: "sim --profile small --seed 3 --only none", code: 0, says: "0 faults, 0 violations" },
    Case { line: "sim --profile small --seed 3 --shrink", code: 0, says: "there is nothing to shrink" },
    Case {
        line: "sim --profile small --seed 3 --only 99999",
        code: 1,
        says: "this seed has the faults 0 to",
    },
    Case { line: "sim --seed 5 --minutes 3", code: 2, says: "cannot be used with" },
    Case { line: "sim --meta --profile calm", code: 0, says: "calm: 5 seeds twice, the same bytes" },
    Case { line: "sim --seeds 0..2 --profile failovers", code: 2, says: "there is no profile" },
    Case { line: "model --minutes 0", code: 2, says: "expected 0.1 to 1440" },
    Case { line: "model --minutes 9999", code: 2, says: "expected 0.1 to 1440" },
    Case { line: "model nope", code: 1, says: "there is no configuration nope; there are silence" },
    Case {
        line: "wan --topology nowhere.toml",
        code: 1,
        says: "cannot read the topology nowhere.toml: No such file",
    },
    Case { line: "race --only patroni,pgpool", code: 2, says: "invalid value 'pgpool'" },
    Case { line: "race --trials 0", code: 2, says: "0 is not in 1.." },
];

#[test]
fn commands_say_what_they_do_and_refuse_what_they_cannot() {
    for Case { line, code, says } in CASES {
        let mut command = Command::new(env!("CARGO_BIN_EXE_regent-chaos"));
        let ended = command.args(line.split_whitespace()).output().expect("the program runs");
        let said =
            format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert_eq!(ended.status.code(), Some(code), "{line}:\n{said}");
        assert!(said.contains(says), "{line}: expected {says:?} in\n{said}");
        let meta = line.contains("--meta");
        assert!(!meta || said.lines().count() == 1, "{line} is of one profile alone:\n{said}");
    }
}

#[test]
fn who_stops_reading_is_told_nothing() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_regent-chaos"));
    command.args(["sim", "--profile", "small", "--seed", "3"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().unwrap();
    drop(running.stdout.take());
    let ended = running.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}
