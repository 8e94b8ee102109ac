//! Patroni's configuration files, as JSON, which is YAML. The one place that knows its keys.

use serde_json::{Map, Value, json};

use super::etcd;
use crate::cluster::topology::{GROUP, instance};
use crate::race::contestant::Speed;
use crate::race::site::{Site, settings};
use crate::wan::NETWORKS;

const REST_PORT: u16 = 8008;

/// Of the agent in a region.
pub fn of(site: &Site, region: usize, speed: Speed) -> Value {
    let (address, dir) = (site.address(region), site.dir(region));
    let (rest, postgres) = (format!("{address}:{REST_PORT}"), format!("{address}:{}", site.port(region)));
    let trusted = [
        "local all all trust".to_owned(),
        format!("host all all {NETWORKS} trust"),
        format!("host replication all {NETWORKS} trust"),
    ];
    let account = |name: &str| json!({ "username": name, "password": "demo" });
    json!({
        "scope": GROUP,
        "name": instance(region),
        "restapi": { "listen": rest, "connect_address": rest },
        "etcd3": { "hosts": etcd::hosts(site, region) },
        "bootstrap": { "dcs": group(speed), "initdb": ["data-checksums", { "encoding": "UTF8" }] },
        "postgresql": {
            "listen": postgres,
            "connect_address": postgres,
            "bin_dir": site.peers.bin(),
            "data_dir": site.data(region),
            "pgpass": dir.join("pgpass"),
            "authentication": { "superuser": account("postgres"), "replication": account("replicator") },
            "parameters": { "unix_socket_directories": dir },
            "pg_hba": trusted,
        },
        // There is none on this machine; without a device the default looks for one and goes on without.
        "watchdog": { "mode": "off" },
    })
}

/// What is agreed on in etcd. Everything that is not named is Patroni's default, replication among it: asynchronous.
fn group(speed: Speed) -> Value {
    let [ttl, loop_wait, retry_timeout] = timers(speed);
    let settings: Map<String, Value> =
        settings().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    json!({
        "ttl": ttl,
        "loop_wait": loop_wait,
        "retry_timeout": retry_timeout,
        "postgresql": { "use_pg_rewind": true, "parameters": settings },
    })
}

/// Seconds of ttl, loop_wait and retry_timeout. Patroni refuses less than 20, 1 and 3.
fn timers(speed: Speed) -> [u64; 3] {
    match speed {
        Speed::Default => [30, 10, 10],
        Speed::Fastest => [20, 1, 3],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_gets_the_same_settings_and_his_own_timers() {
        for (speed, ttl) in [(Speed::Default, 30), (Speed::Fastest, 20)] {
            let group = group(speed);
            assert_eq!(group["ttl"], ttl);
            assert_eq!(group["postgresql"]["parameters"]["wal_retrieve_retry_interval"], "50ms");
            assert!(group.get("synchronous_mode").is_none());
        }
    }
}
