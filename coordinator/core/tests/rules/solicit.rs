//! How often the leader asks for votes, and for whom.

use super::{begun, group, instance, report, standing};
use regent_core::agent::REPORT_INTERVAL;
use regent_core::ids::Epoch;
use regent_core::message::{Report, Solicit};
use regent_core::plan::{Action, plan};
use regent_core::time::Time;
use regent_core::view::View;
use regent_core::vote::Reason;
use std::time::Duration;

/// How often a leader looks.
const LOOK: Duration = Duration::from_millis(10);

/// A leader outside the electorate hears the heir, and not the primary, which all its witnesses hear: its wish is in vain, the same for
/// ever, and may not become a storm.
#[test]
fn a_wish_in_vain_is_repeated_and_then_made_anew_only_after_a_pause() {
    let state = begun();
    let known = &state.groups[&group()];
    let pause = known.terms.suspicion * 2;
    let mut view = View::default();
    let (mut first, mut again) = (Vec::new(), 0);
    for look in 0..400 {
        let now = Time::ZERO + LOOK * look;
        (1..=3).for_each(|witness| view.standing(standing(known, witness, 1, "a"), now));
        view.report(report("b", u64::from(look)), now);
        view.look(&state, now);
        for action in plan(&state, &view, now, 0) {
            match action {
                Action::Solicit(solicit) => {
                    assert_eq!((solicit.epoch, &solicit.named), (Epoch(2), &instance("b")));
                    view.solicited(&solicit, now);
                    first.push(now);
                }
                Action::SolicitAgain(solicit) => {
                    view.solicited_again(&solicit.group, now);
                    again += 1;
                }
                _ => {}
            }
        }
    }
    assert!(first.windows(2).all(|two| two[1] >= two[0] + pause), "{first:?}");
    // From 3 suspicions on; the last has had half its time.
    assert_eq!((first.len(), again), (4, 3 * 7 + 3));
}

/// A repeated vote for one that has died would keep its witness from voting for the heir for one more suspicion.
#[test]
fn who_is_not_heard_any_more_or_has_given_up_is_not_asked_for_again() {
    let state = begun();
    let known = &state.groups[&group()];
    let asked = Time::ZERO + known.terms.suspicion * 4;
    let later = asked + Duration::from_millis(100);
    let claiming = |name: &str| Report { claims: Some(Epoch(1)), ..report(name, 2) };
    let unready = Report { ready: false, ..report("b", 2) };
    let heard = later.since(asked) - REPORT_INTERVAL;
    let table = [
        ("a", Reason::Terms, Some((claiming("a"), heard)), true),
        ("a", Reason::Terms, Some((claiming("a"), Duration::ZERO)), false),
        ("a", Reason::Terms, Some((report("a", 2), heard)), false),
        ("a", Reason::Terms, None, false),
        ("b", Reason::Reaffirmed, Some((report("b", 2), heard)), true),
        ("b", Reason::Reaffirmed, Some((unready, heard)), false),
        ("b", Reason::Reaffirmed, None, false),
    ];
    for (named, reason, report, expected) in table {
        let mut view = View::default();
        view.look(&state, Time::ZERO);
        let (epoch, revision) = (Epoch(2), known.revision);
        let solicit = Solicit { group: group(), epoch, named: instance(named), revision, reason };
        view.solicited(&solicit, asked);
        let what = format!("{reason:?} {report:?}");
        report.into_iter().for_each(|(report, after)| view.report(report, asked + after));
        let again = plan(&state, &view, later, 0).contains(&Action::SolicitAgain(solicit));
        assert_eq!(again, expected, "{what}");
    }
}
