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

/// How long it took, or what breaks the theorem.
pub fn check(seen: &Seen, bound: Duration) -> Result<Duration, String> {
    let because = seen.trouble.as_deref().unwrap_or("nothing is known of why");
    let whole = seen.whole_ns.ok_or_else(|| format!("not whole again: {because}"))?;
    let served = seen.served_ns.ok_or_else(|| format!("whole, but not all are served: {because}"))?;
    let took = Duration::from_nanos(whole.max(served).saturating_sub(seen.off_ns));
    if took > bound {
        let ms = ms_between(seen.off_ns, whole.max(served));
        return Err(format!("healed after {ms:.0} ms, allowed {} ms", bound.as_millis()));
    }
    match &seen.trouble {
        Some(trouble) => Err(trouble.clone()),
        None => Ok(took),
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
        assert!(check(&seen(None, Some(s(4))), bound).unwrap_err().starts_with("not whole again"));
        assert!(check(&seen(Some(s(3)), None), bound).unwrap_err().starts_with("whole, but not all"));
        assert!(check(&seen(Some(s(3)), Some(s(7))), bound).unwrap_err().contains("6000 ms, allowed 5000"));
        let died = Seen { trouble: Some("regentd ended".into()), ..seen(Some(s(2)), Some(s(2))) };
        assert_eq!(check(&died, bound).unwrap_err(), "regentd ended");
    }
}
