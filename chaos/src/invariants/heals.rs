//! Heals: when every fault is over, all stream, one leads, epochs agree, and writers and askers of every region are served
//! again, within the bound.

use std::time::Duration;

use crate::clock::ms_between;

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// When every fault was over.
    pub off_ns: u64,
    /// When all was whole.
    pub whole_ns: Option<u64>,
    /// When everybody had been served again.
    pub served_ns: Option<u64>,
    /// What was in the way.
    pub trouble: Option<String>,
}

/// What breaks the theorem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Not {
    /// It took too long.
    InTime(String),
    /// It was not seen to heal, and was waited for far longer than the bound; or something was wrong beside.
    AtAll(String),
}

/// How long it took, or what breaks the theorem.
pub fn check(seen: &Seen, bound: Duration) -> Result<Duration, Not> {
    let because = seen.trouble.as_deref().unwrap_or("nothing is known of why");
    let whole = seen.whole_ns.ok_or_else(|| Not::AtAll(format!("not whole again: {because}")))?;
    let served =
        seen.served_ns.ok_or_else(|| Not::AtAll(format!("whole, but not all are served: {because}")))?;
    if let Some(trouble) = &seen.trouble {
        return Err(Not::AtAll(trouble.clone()));
    }
    let healed = whole.max(served);
    let took = Duration::from_nanos(healed.saturating_sub(seen.off_ns));
    match took > bound {
        true => {
            let ms = ms_between(seen.off_ns, healed);
            Err(Not::InTime(format!("healed after {ms:.0} ms, allowed {} ms", bound.as_millis())))
        }
        false => Ok(took),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_whole_not_served_or_late_has_not_healed() {
        let s = |s: u64| s * 1_000_000_000;
        let seen = |whole, served| Seen { off_ns: s(1), whole_ns: whole, served_ns: served, trouble: None };
        let bound = Duration::from_secs(5);
        assert_eq!(check(&seen(Some(s(3)), Some(s(4))), bound), Ok(Duration::from_secs(3)));
        let at_all = |seen: &Seen| match check(seen, bound) {
            Err(Not::AtAll(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(at_all(&seen(None, Some(s(4)))).starts_with("not whole again"));
        assert!(at_all(&seen(Some(s(3)), None)).starts_with("whole, but not all"));
        let late = Not::InTime("healed after 6000 ms, allowed 5000 ms".into());
        assert_eq!(check(&seen(Some(s(3)), Some(s(7))), bound), Err(late));
        let died = Seen { trouble: Some("regentd ended".into()), ..seen(Some(s(2)), Some(s(2))) };
        assert_eq!(at_all(&died), "regentd ended");
    }
}
