//! Regent itself: the cluster of the demo, on the same land.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::contestant::{Contestant, Look};
use super::fault::{Fault, HOME};
use crate::cluster::admin::{Admin, View};
use crate::cluster::land::Land;
use crate::cluster::run_dir::Programs;
use crate::cluster::ways::Ways;
use crate::cluster::{Cluster, Options, Process, Victim};
use crate::demo::setup;

/// See the module.
pub struct Regent {
    cluster: Cluster,
}

impl Regent {
    /// Starts it as the demo does, in mode `async`.
    pub async fn start(land: &Arc<Land>) -> anyhow::Result<Regent> {
        let cluster = Cluster::start_with(Programs::find()?, Options::on(land))?;
        let admin = Admin::of(&cluster)?;
        crate::cluster::admin::insist("creating the group", super::wait::LIMIT, async || {
            admin.create_group(None).await
        })
        .await?;
        Ok(Regent { cluster })
    }

    fn view(&self) -> anyhow::Result<View> {
        let admin = Admin::of(&self.cluster)?;
        wait(admin.view())
    }
}

/// The calls of a contestant are plain ones.
fn wait<T>(call: impl Future<Output = T>) -> T {
    block_in_place(|| Handle::current().block_on(call))
}

impl Contestant for Regent {
    fn look(&mut self) -> anyhow::Result<Look> {
        self.cluster.check_alive()?;
        let view = self.view()?;
        let missing =
            (!view.is_whole()).then(|| format!("{} of {} standbys stream", view.streaming, view.standbys));
        Ok(Look { primary: view.primary, leader: view.leader, missing })
    }

    fn arrange(&mut self, fault: Fault, look: &Look) -> anyhow::Result<()> {
        let admin = Admin::of(&self.cluster)?;
        if look.primary != Some(HOME) {
            wait(admin.switchover(HOME))?;
        }
        if look.leader != Some(fault.leader()) {
            wait(admin.transfer_leader(fault.leader()))?;
        }
        Ok(())
    }

    fn strike(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Region | Fault::RegionAlone => drop(self.cluster.kill_region(HOME)?),
            Fault::Frozen => drop(self.cluster.freeze(HOME, Victim::Region)?),
            Fault::Agent => drop(self.cluster.kill_process(HOME, Process::Agent)?),
            Fault::Cut => self.cluster.cut(&Ways::Around(HOME))?,
            Fault::Hung => drop(self.cluster.freeze(HOME, Victim::Postgres)?),
            Fault::Switchover => {
                let heir = self.view()?.heir.context("a whole group has an heir")?;
                wait(Admin::of(&self.cluster)?.switchover(heir))?;
            }
        }
        Ok(())
    }

    fn undo(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Region | Fault::RegionAlone => self.cluster.restore_region(HOME)?,
            Fault::Frozen | Fault::Hung => self.cluster.thaw(HOME)?,
            Fault::Agent => self.cluster.start_processes(HOME)?,
            Fault::Cut => self.cluster.heal(&Ways::Around(HOME))?,
            Fault::Switchover => {}
        }
        Ok(())
    }

    fn postgres(&self) -> Vec<SocketAddr> {
        (0..self.cluster.instances()).map(|region| self.cluster.postgres(region)).collect()
    }

    fn as_superuser(&self, region: usize, sql: &str) -> anyhow::Result<String> {
        setup::as_superuser(&self.cluster, region, sql)
    }

    fn keep_files(&mut self) -> PathBuf {
        self.cluster.keep_files();
        self.cluster.run_dir().path().to_owned()
    }
}
