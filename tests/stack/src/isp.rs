//! A played ISP and its tenant.

use crate::Stack;
use anyhow::Context;
use events::{NodeId, TenantId};
use network_file::{LabHints, NetworkFile, Shape, generate};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long every root must have been up.
pub const RESOLVE_HOLD: Duration = Duration::from_secs(3);

/// After a root is back, when what it cut off and nobody spoke of is looked at: a report of it may be lost.
const RECOVER_HOLD: Duration = Duration::from_secs(15);

/// An ISP that is played by a lab of its own. Every one has things of the same names.
pub struct Isp {
    /// As it was imported.
    pub network: NetworkFile,
    /// Who plays it. Its routers watch and answer, and report nothing by themselves.
    pub lab: Arc<lab::Lab>,
    /// Whose it is.
    pub tenant: TenantId,
}

impl Isp {
    /// Plays and imports the ISP called `slug`; its notices go to the sink under that name. `seed` is what its
    /// tokens follow from.
    ///
    /// # Errors
    ///
    /// When its addresses are not to be had, or the console does not take it.
    pub async fn open(stack: &Stack, slug: &str, seed: u64, shape: Shape) -> anyhow::Result<Self> {
        // Every ISP has the same addresses, so each has a port of its own.
        let api_port = crate::free_port()?.port();
        let mut network = generate(&Shape { seed, api_port, ..shape })?;
        network.tenant.slug = slug.to_owned();
        network.tenant.name = format!("{slug} Ltd.");
        stack.tell_the_sink(&mut network);
        network.policy.resolve_hold_ms = u32::try_from(RESOLVE_HOLD.as_millis())?;
        network.policy.recover_hold_ms = u32::try_from(RECOVER_HOLD.as_millis())?;
        network.policy.walks_per_hour = 1_000_000;
        network.lab.defaults =
            LabHints { session_timeout_ms: Some(0), boot_ms: Some(0), ..LabHints::default() };
        let settings = lab::Settings { sessions_return_over: Duration::ZERO, ..lab::Settings::default() };
        let lab = lab::Lab::start(lab::network::Network::from_file(&network)?, settings).await?;
        let imported = stack.import(&network).await.with_context(|| format!("importing {slug}"))?;
        anyhow::ensure!(imported["committed"] == true, "importing {slug}: {imported}");
        let tenant = network.tenant_id();
        Ok(Self { network, lab, tenant })
    }

    /// What operators call it.
    pub fn slug(&self) -> &str {
        &self.network.tenant.slug
    }

    /// How many things there are.
    pub fn size(&self) -> usize {
        self.network.nodes.len() + self.network.subscribers.len()
    }

    /// Breaks or mends a device.
    ///
    /// # Errors
    ///
    /// When the lab has no such device.
    pub fn set_broken(&self, id: &str, broken: bool) -> anyhow::Result<()> {
        let node = self.lab.network().find(id).with_context(|| format!("the lab has no `{id}`"))?;
        self.lab.set_broken(&[node], broken);
        Ok(())
    }

    /// What the network file calls each node, by its id in the log.
    pub fn names(&self) -> BTreeMap<String, String> {
        let devices =
            self.network.nodes.iter().map(|n| (NodeId::of(self.tenant, &n.id).to_string(), n.id.clone()));
        let accounts = self
            .network
            .subscribers
            .iter()
            .map(|one| (NodeId::of_account(self.tenant, &one.account).to_string(), one.account.clone()));
        devices.chain(accounts).collect()
    }
}
