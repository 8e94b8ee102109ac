//! What an agent leaves behind of its fence when it ends, however it ends, and what the next one does with it.

use regent_client::agent::fence::{Fence, remove_left};
use regent_client::gate::boottime_ns;
use regent_core::message::{KernelFence, Role};
use regent_core::time::Time;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::super::fixture::{Bench, PATIENCE};
use super::*;

/// Leaves what an agent leaves that was killed while it was armed, after the end of its lease.
fn killed_agent_of(port: u16) {
    let agent = StandIn::of(port);
    until("the stand-in has armed it", is_guarded);
    drop(agent);
    std::thread::sleep(LEASE); // nothing can be waited for: a port that does not answer may be a slow one
}

#[test]
fn what_a_killed_agent_leaves_stays_closed_until_the_next_one_has_a_lease_or_a_standby() {
    alone(|| {
        let port = echo();
        let mut client = connected(port);
        killed_agent_of(port);
        until("the lease has ended", || !answers(&mut client));

        let mut next = Fence::new(place(port));
        until("it is taken over", || next.standing() == KernelFence::Ready);
        next.follow(Some(Role::Stopped), None);
        assert!(!answers(&mut client), "what was guarded is guarded until it is known to be no primary");
        next.follow(None, lease());
        until("the next lease opens it", || answers(&mut client));
        next.follow(Some(Role::Primary), None);
        until("a lease that was given up closes it", || !answers(&mut client));
        next.follow(Some(Role::Standby), None);
        until("a standby is open to everybody", || answers(&mut client));
        until("a standby has no table", || !table_is_there());
        until("and its agent says so", || next.standing() == KernelFence::Ready);
        next.follow(None, lease());
        until("a lease arms it again", || next.standing() == KernelFence::Armed);
        next.follow(Some(Role::Standby), None);
        drop(next);
        assert!(!table_is_there(), "beside a standby an agent leaves nothing");
        until("it answers", || answers(&mut client));
    });
}

#[test]
fn an_agent_that_has_no_fence_removes_what_one_before_it_left() {
    alone(|| {
        let port = echo();
        let mut client = connected(port);
        killed_agent_of(port);
        until("the lease has ended", || !answers(&mut client));
        assert!(remove_left(&place(port)).unwrap());
        assert!(!table_is_there());
        until("it is open to everybody", || answers(&mut client));
        assert!(!remove_left(&place(port)).unwrap(), "there is none any more");
    });
}

#[test]
fn an_agent_that_ends_leaves_its_primary_a_port_that_closes_and_the_next_one_does_not_shorten_the_lease() {
    alone(|| {
        let port = echo();
        let mut client = connected(port);
        let mut fence = Fence::new(place(port));
        fence.follow(Some(Role::Primary), Some(Time(boottime_ns()) + 10 * PATIENCE));
        until("it is armed", || fence.standing() == KernelFence::Armed);
        drop(fence);
        assert!(is_guarded(), "the primary that is left running is left guarded");

        let mut next = Fence::new(place(port));
        next.follow(Some(Role::Primary), None);
        until("it is taken over", || next.standing() == KernelFence::Armed);
        assert!(set("open").contains("elements"), "the lease of before still runs");
        until("it answers", || answers(&mut client));
        next.follow(None, lease());
        until("this one's ends sooner", || !answers(&mut client));
    });
}

#[test]
fn a_port_that_was_another_instances_before_is_not_kept_closed() {
    alone(|| {
        let (before, port) = (echo(), echo());
        killed_agent_of(before);
        let mut client = connected_in_time(before);
        assert!(client.is_none(), "what the killed agent left is closed");
        let mut fence = Fence::new(place(port));
        fence.follow(Some(Role::Primary), lease());
        until("the port of before is open", || {
            client = connected_in_time(before);
            client.is_some()
        });
    });
}

#[test]
fn what_a_killed_agent_left_is_taken_over_though_nft_cannot_run() {
    alone(|| {
        let bench = Bench::new();
        let broken = bench.path("nft");
        fs::write(&broken, "#!/bin/sh\nexit 1\n").unwrap();
        fs::set_permissions(&broken, Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", broken.parent().unwrap().display(), std::env::var("PATH").unwrap());

        let port = echo();
        let mut client = connected(port);
        killed_agent_of(port);
        until("the lease has ended", || !answers(&mut client));
        let _next = StandIn::with_programs_of(port, path.as_ref());
        until("the next lease opens it", || answers(&mut client));
    });
}

#[test]
fn an_agent_does_not_start_beside_a_table_that_it_may_not_remove() {
    alone(|| {
        let dir = tempfile::Builder::new().prefix("rg").tempdir_in("/dev/shm").unwrap();
        let (config, mark) = (dir.path().join("agent.toml"), dir.path().join("kernel-fence"));
        fs::write(&config, without_fence(dir.path())).unwrap();
        fs::write(&mark, TABLE).unwrap();
        assert!(Command::new("nft").args(["add", "table", "inet", TABLE]).status().unwrap().success());
        let started = |mut command: Command| {
            command.arg("--config").arg(&config).stderr(Stdio::piped());
            StandIn(command.spawn().unwrap())
        };

        // In a user namespace of its own root has no power over the network outside of it.
        let mut powerless = Command::new("unshare");
        powerless.args(["--user", AGENT]);
        let mut refused = started(powerless);
        until("it has ended", || refused.0.try_wait().unwrap().is_some());
        let mut said = String::new();
        refused.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let command = format!("nft delete table inet {TABLE}");
        assert!(said.contains(&command) && said.contains(mark.to_str().unwrap()), "{said}");
        assert!(table_is_there() && mark.exists(), "what could not be removed is not forgotten");

        let _agent = started(Command::new(AGENT));
        until("one that may removes it, and forgets it", || !table_is_there() && !mark.exists());
    });
}

const AGENT: &str = env!("CARGO_BIN_EXE_regent-agent");

/// The configuration of an agent that has no fence, and nothing else to do.
fn without_fence(dir: &Path) -> String {
    format!(
        "cluster = \"demo\"\ngroup = \"orders\"\ninstance = \"orders-east\"\nregion = \"east\"\nstate_dir = \"{0}\"\n\
         nodes = [{{ id = 1, address = \"127.0.0.1:1\" }}]\n[postgres]\ndata_dir = \"{0}/data\"\n\
         listen_address = \"127.0.0.1\"\nport = 5432\nrun_dir = \"{0}\"\n",
        dir.display()
    )
}
