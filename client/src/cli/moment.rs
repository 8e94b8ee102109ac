//! A moment that is to come, as an admin writes it: with a zone of its own, or a time of day, which is UTC like every
//! time this command prints.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

/// The moment that the text means, seen from `now`: RFC 3339, or `HH:MM[:SS]` for the next time it is that late in UTC.
pub fn parse(text: &str, now: SystemTime) -> Result<SystemTime, String> {
    let moment = match of_day(text) {
        Some(of_day) => next(of_day, now),
        None => rfc3339(text),
    };
    let expected =
        "expected HH:MM or HH:MM:SS in UTC, or RFC 3339 with a zone, such as 2026-03-01T03:00:00+01:00";
    let moment = moment.ok_or_else(|| format!("{text:?} is not a time: {expected}"))?;
    if moment < now {
        return Err(format!("{} is past", humantime::format_rfc3339_seconds(moment)));
    }
    Ok(moment)
}

/// Seconds since midnight.
fn of_day(text: &str) -> Option<u64> {
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|c| c.is_ascii_digit());
    let parts: Vec<&str> = text.split(':').collect();
    if !(2..=3).contains(&parts.len()) || !parts.iter().all(|part| digits(part)) {
        return None;
    }
    let number = |at: usize| parts.get(at).map_or(Some(0), |part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (number(0)?, number(1)?, number(2)?);
    (hours < 24 && minutes < 60 && seconds < 60).then_some(hours * 3_600 + minutes * 60 + seconds)
}

fn next(of_day: u64, now: SystemTime) -> Option<SystemTime> {
    let unix = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let today = unix - unix % DAY + of_day;
    let seconds = if today > unix { today } else { today + DAY };
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}

fn rfc3339(text: &str) -> Option<SystemTime> {
    if let Ok(utc) = humantime::parse_rfc3339(text) {
        return Some(utc);
    }
    let (stem, zone) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (east, zone) = (zone.starts_with('+'), zone.strip_prefix(['+', '-'])?);
    let offset = Duration::from_secs(of_day(zone)?);
    let local = humantime::parse_rfc3339(&format!("{stem}Z")).ok()?;
    if east { local.checked_sub(offset) } else { local.checked_add(offset) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_in_all_spellings() {
        let now = humantime::parse_rfc3339("2026-03-01T02:30:00Z").unwrap();
        let table = [
            ("03:00", "2026-03-01T03:00:00Z"),
            ("02:30:01", "2026-03-01T02:30:01Z"),
            ("02:30", "2026-03-02T02:30:00Z"),
            ("2026-03-01T03:00:00Z", "2026-03-01T03:00:00Z"),
            ("2026-03-01T04:00:00+01:00", "2026-03-01T03:00:00Z"),
            ("2026-02-28T22:00:00-05:00", "2026-03-01T03:00:00Z"),
        ];
        for (text, utc) in table {
            assert_eq!(parse(text, now).unwrap(), humantime::parse_rfc3339(utc).unwrap(), "{text}");
        }
        for bad in ["", "3:00", "24:00", "03:60", "tomorrow", "2026-03-01", "2026-03-01T03:00:00", "é03:00"]
        {
            let error = parse(bad, now).unwrap_err();
            assert!(error.contains("HH:MM") && error.contains("UTC"), "{bad}: {error}");
        }
        assert!(parse("2026-03-01T02:00:00Z", now).unwrap_err().contains("is past"));
    }
}
