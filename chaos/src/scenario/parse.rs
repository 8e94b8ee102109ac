//! Scenarios from TOML.
//!
//! ```toml
//! [[scenario]]
//! name = "region-lost"
//! what = "The region with primary and Raft leader is lost"
//! promotions = 1
//! [[scenario.fault]]
//! at = "2s"
//! what = "kill-region"
//! where = "home"
//! until = "promoted + 3s"
//! ```

use std::time::Duration;

use regent_core::replication::Mode;
use serde::Deserialize;

use super::fault::{self, Fault, Needs, Wants};
use super::place::Place;
use super::{Begins, Class, Client, Ends, NoScenarios, Planned, Promotions, Scenario, Setting, Wrong};
use crate::wan::terms::Change;

/// Nothing is waited for so long.
const LONGEST: Duration = Duration::from_secs(3600);
const HEALS_WITHIN: Duration = Duration::from_secs(90);
const LASTS: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    scenario: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    what: String,
    #[serde(default)]
    ci: bool,
    regions: Option<usize>,
    instances: Option<usize>,
    round_trips_ms: Option<Vec<u64>>,
    ttl: Option<String>,
    mode: Option<String>,
    #[serde(default)]
    links: Change,
    #[serde(default)]
    exact: bool,
    lasts: Option<String>,
    promotions: String,
    heals_within: Option<String>,
    gap_within: Option<String>,
    clients: Option<Vec<Client>>,
    #[serde(default)]
    fault: Vec<FaultEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultEntry {
    at: String,
    what: String,
    #[serde(rename = "where")]
    place: String,
    lasts: Option<String>,
    until: Option<String>,
    by: Option<String>,
    count: Option<u32>,
    link: Option<Change>,
}

/// The scenarios of a class.
pub(super) fn file(class: Class, text: &str) -> Result<Vec<Scenario>, NoScenarios> {
    let file: File = toml::from_str(text).map_err(|source| NoScenarios::Text { class, source })?;
    file.scenario.into_iter().map(|entry| entry.scenario(class)).collect()
}

impl Entry {
    fn scenario(self, class: Class) -> Result<Scenario, NoScenarios> {
        let wrong = |key: &str| {
            let (name, key) = (self.name.clone(), key.to_owned());
            move |wrong| NoScenarios::Value { name, key, wrong }
        };
        let setting = self.setting().map_err(|(key, error)| wrong(key)(error))?;
        let or = |text: &Option<String>, usual| text.as_deref().map_or(Ok(usual), duration);
        let lasts = or(&self.lasts, LASTS).map_err(wrong("lasts"))?;
        let heals_within = or(&self.heals_within, HEALS_WITHIN).map_err(wrong("heals_within"))?;
        let gap_within = self.gap_within.as_deref().map(duration).transpose().map_err(wrong("gap_within"))?;
        let clients = self.clients.clone().unwrap_or_else(|| Client::ALL.into());
        let promotions = promotions(&self.promotions).map_err(wrong("promotions"))?;
        let mut schedule = Vec::new();
        for (entry, number) in self.fault.iter().zip(1..) {
            let planned = entry.planned();
            let planned = planned.map_err(|(key, error)| wrong(&format!("fault {number}, {key}"))(error))?;
            schedule.push(planned);
        }
        schedule.sort_by_key(|planned| planned.begins);
        let Entry { name, what, ci, exact, .. } = self;
        Ok(Scenario {
            name,
            class,
            what,
            ci,
            setting,
            clients,
            lasts,
            exact,
            by_chance: false,
            schedule,
            promotions,
            heals_within,
            gap_within,
        })
    }

    fn setting(&self) -> Result<Setting, (&'static str, Wrong)> {
        let usual = Setting::default();
        let regions = self.regions.unwrap_or(usual.regions);
        if !(3..=5).contains(&regions) {
            return Err(("regions", Wrong::new("3 to 5", regions.to_string())));
        }
        let instances = self.instances.unwrap_or(regions);
        if !(2..=regions).contains(&instances) {
            return Err(("instances", Wrong::new(format!("2 to {regions}"), instances.to_string())));
        }
        let round_trips_ms = match &self.round_trips_ms {
            Some(given) => given.clone(),
            None if regions == usual.regions => usual.round_trips_ms,
            None => vec![40],
        };
        let pairs = regions * (regions - 1) / 2;
        if round_trips_ms.len() != pairs && round_trips_ms.len() != 1 {
            let expected = format!("one round trip, or {pairs}: one for each pair of {regions} regions");
            return Err(("round_trips_ms", Wrong::new(expected, format!("{round_trips_ms:?}"))));
        }
        if let Some(long) = round_trips_ms.iter().find(|ms| !(1..=1000).contains(*ms)) {
            return Err(("round_trips_ms", Wrong::new("1 to 1000", long.to_string())));
        }
        let mode = self.mode.as_deref().unwrap_or("async");
        let mode: Mode = mode.parse().map_err(|_| {
            let expected = "async, or who confirms: sync 1, quorum 1, bounded 100ms";
            ("mode", Wrong::new(expected, mode))
        })?;
        let rows = || self.fault.iter().filter_map(|entry| fault::named(&entry.what));
        let needs = |what: Needs| rows().any(|row| row.needs == what);
        let (shim, disks) = (needs(Needs::Shim), needs(Needs::Disk));
        let ttl = self.ttl.as_deref().map(duration).transpose().map_err(|wrong| ("ttl", wrong))?;
        Ok(Setting { regions, instances, round_trips_ms, ttl, mode, links: self.links, shim, disks })
    }
}

impl FaultEntry {
    fn planned(&self) -> Result<Planned, (&'static str, Wrong)> {
        let begins = self.begins().map_err(|wrong| ("at", wrong))?;
        let row = fault::named(&self.what).ok_or_else(|| {
            let names: Vec<&str> = fault::TABLE.iter().map(|row| row.name).collect();
            ("what", Wrong::new(format!("one of {}", names.join(", ")), &*self.what))
        })?;
        let place: Place = self.place.parse().map_err(|wrong| ("where", wrong))?;
        let mut fault = Fault::plain(row.kind);
        let wants = |wanted: Wants| row.wants == wanted;
        fault.by = told("by", wants(Wants::By), self.by.as_deref())?
            .map(duration)
            .transpose()
            .map_err(|wrong| ("by", wrong))?
            .unwrap_or_default();
        fault.count = told("count", wants(Wants::Count), self.count)?.unwrap_or_default();
        fault.link = told("link", wants(Wants::Link), self.link)?.unwrap_or_default();
        let ends = self.ends(row.lasts)?;
        Ok(Planned { begins, fault, place, ends })
    }

    fn begins(&self) -> Result<Begins, Wrong> {
        match self.at.starts_with("promoted") {
            true => promoted(&self.at).map(Begins::AfterPromotion),
            false => duration(&self.at).map(Begins::At),
        }
    }

    fn ends(&self, can_last: bool) -> Result<Ends, (&'static str, Wrong)> {
        match (&self.lasts, &self.until) {
            (None, None) if !can_last => Ok(Ends::AtOnce),
            (Some(time), None) if can_last => {
                Ok(Ends::After(duration(time).map_err(|wrong| ("lasts", wrong))?))
            }
            (None, Some(until)) if can_last => {
                Ok(Ends::AfterPromotion(promoted(until).map_err(|wrong| ("until", wrong))?))
            }
            (Some(time), _) if !can_last => {
                Err(("lasts", Wrong::new("nothing: it is done at once", &**time)))
            }
            (_, Some(until)) if !can_last => {
                Err(("until", Wrong::new("nothing: it is done at once", &**until)))
            }
            (Some(_), Some(until)) => Err(("until", Wrong::new("either `lasts` or `until`", &**until))),
            _ => Err(("lasts", Wrong::new("a time as in 5s, or `until`", "nothing"))),
        }
    }
}

/// A key that is there exactly where it is wanted.
fn told<T>(key: &'static str, wanted: bool, got: Option<T>) -> Result<Option<T>, (&'static str, Wrong)> {
    match (wanted, got.is_some()) {
        (true, false) => Err((key, Wrong::new("a value", "nothing"))),
        (false, true) => Err((key, Wrong::new("nothing: this fault is not told that", "a value"))),
        _ => Ok(got),
    }
}

fn duration(text: &str) -> Result<Duration, Wrong> {
    let time = humantime::parse_duration(text).ok().filter(|time| *time <= LONGEST);
    time.ok_or_else(|| Wrong::new("a time of at most 1h, as in 500ms or 1m 30s", text))
}

/// `promoted`, or `promoted + 3s`.
fn promoted(text: &str) -> Result<Duration, Wrong> {
    let wrong = || Wrong::new("promoted, or promoted + a time, as in promoted + 3s", text);
    match text.split_once('+') {
        None if text == "promoted" => Ok(Duration::ZERO),
        Some((before, time)) if before.trim() == "promoted" => duration(time.trim()).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

/// `1`, `at most 1`, or `1 to 3`.
fn promotions(text: &str) -> Result<Promotions, Wrong> {
    let wrong = || Wrong::new("a number, as in 1, at most 1, or 1 to 3", text);
    let number = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
    let (least, most) = match (text.strip_prefix("at most "), text.split_once(" to ")) {
        (Some(most), _) => (0, number(most)?),
        (None, Some((least, most))) => (number(least)?, number(most)?),
        (None, None) => (number(text)?, number(text)?),
    };
    if least > most {
        return Err(wrong());
    }
    Ok(Promotions { least, most })
}

#[cfg(test)]
mod tests {
    use super::super::fault::Kind;
    use super::*;

    const GOOD: &str = r#"
        [[scenario]]
        name = "lost"
        what = "A region is lost"
        promotions = "1"
        mode = "sync 1"
        [[scenario.fault]]
        at = "2s"
        what = "kill-region"
        where = "home"
        until = "promoted + 3s"
        [[scenario.fault]]
        at = "1s"
        what = "watchers"
        where = "all"
        count = 50
        lasts = "4s"
    "#;

    #[test]
    fn a_scenario_is_read_in_the_order_of_time() {
        let all = file(Class::Process, GOOD).unwrap();
        let [lost] = &all[..] else { panic!("{all:?}") };
        assert_eq!((lost.name.as_str(), lost.class, lost.ci), ("lost", Class::Process, false));
        assert_eq!((lost.promotions.least, lost.promotions.most), (1, 1));
        assert_eq!(lost.setting.mode, Mode::Sync { count: 1 });
        assert_eq!(lost.setting.round_trips_ms, [60, 80, 140]);
        let kinds: Vec<Kind> = lost.schedule.iter().map(|planned| planned.fault.kind).collect();
        assert_eq!(kinds, [Kind::Watchers, Kind::KillRegion]);
        assert_eq!(lost.schedule[0].fault.count, 50);
        assert_eq!(lost.schedule[1].ends, Ends::AfterPromotion(Duration::from_secs(3)));
        assert_eq!(lost.planned_for(), Duration::from_secs(5));
    }

    #[test]
    fn what_is_no_scenario_is_refused_with_name_expected_and_got() {
        let cases = [
            ("promotions = \"1\"", "promotions = \"some\"", "lost, promotions: expected a number"),
            ("promotions = \"1\"", "promotions = \"3 to 1\"", "as in 1, at most 1, or 1 to 3, got `3 to 1`"),
            ("at = \"2s\"", "at = \"2\"", "fault 1, at: expected a time of at most 1h"),
            (
                "what = \"kill-region\"",
                "what = \"kil-region\"",
                "fault 1, what: expected one of kill-region,",
            ),
            ("where = \"home\"", "where = \"mars\"", "fault 1, where: expected one of home, heir"),
            ("until = \"promoted + 3s\"", "until = \"dawn\"", "fault 1, until: expected promoted, or"),
            (
                "until = \"promoted + 3s\"",
                "",
                "fault 1, lasts: expected a time as in 5s, or `until`, got `nothing`",
            ),
            ("count = 50", "", "fault 2, count: expected a value, got `nothing`"),
            ("lasts = \"4s\"", "lasts = \"4s\"\nby = \"1s\"", "fault 2, by: expected nothing"),
            ("lasts = \"4s\"", "lasts = \"4s\"\nuntil = \"promoted\"", "expected either `lasts` or `until`"),
            ("mode = \"sync 1\"", "mode = \"fast\"", "lost, mode: expected async, or who confirms"),
            ("mode = \"sync 1\"", "gap_within = \"soon\"", "lost, gap_within: expected a time of at most 1h"),
            (
                "mode = \"sync 1\"",
                "clients = [\"ghosts\"]",
                "unknown variant `ghosts`, expected one of `stubborn`",
            ),
            ("mode = \"sync 1\"", "ttl = \"long\"", "lost, ttl: expected a time of at most 1h"),
            ("mode = \"sync 1\"", "regions = 9", "lost, regions: expected 3 to 5, got `9`"),
            (
                "mode = \"sync 1\"",
                "round_trips_ms = [1, 2]",
                "or 3: one for each pair of 3 regions, got `[1, 2]`",
            ),
            ("mode = \"sync 1\"", "colour = \"red\"", "unknown field `colour`, expected one of"),
            ("lasts = \"4s\"", "lasts = \"4s\"\nlink = { dealy = \"1s\" }", "unknown field `dealy`"),
        ];
        for (good, bad, says) in cases {
            assert!(GOOD.contains(good), "{good}");
            let said = file(Class::Process, &GOOD.replace(good, bad)).unwrap_err().to_string();
            assert!(said.contains(says), "{bad}:\nexpected {says}\ngot {said}");
        }
    }

    #[test]
    fn a_fault_can_wait_for_a_promotion() {
        let text = GOOD.replace("at = \"2s\"", "at = \"promoted + 1s\"");
        let all = file(Class::Process, &text).unwrap();
        let [watchers, kill] = &all[0].schedule[..] else { panic!("{all:?}") };
        let second = Duration::from_secs(1);
        assert_eq!((watchers.begins, kill.begins), (Begins::At(second), Begins::AfterPromotion(second)));
        assert!(watchers.begins.is_due(second, None) && !kill.begins.is_due(9 * second, None));
        assert!(kill.begins.is_due(9 * second, Some(8 * second)));
        assert!(!kill.begins.is_due(9 * second, Some(9 * second)));
        let wrong = file(Class::Process, &GOOD.replace("at = \"2s\"", "at = \"promoted soon\"")).unwrap_err();
        assert!(wrong.to_string().contains("fault 1, at: expected promoted, or"), "{wrong}");
    }

    #[test]
    fn what_is_done_at_once_does_not_last() {
        let text = GOOD.replace("kill-region", "kill-postgres");
        let said = file(Class::Process, &text).unwrap_err().to_string();
        assert!(said.contains("fault 1, until: expected nothing: it is done at once"), "{said}");
    }
}
