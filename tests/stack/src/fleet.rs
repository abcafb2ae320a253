//! Every service as a process of its own, as a cluster runs them.
//!
//! Whoever runs them starts again what has ended. A process that ends although nobody killed it is
//! written down: none may, whatever else is away.

use crate::{Running, Stack};
use std::collections::BTreeMap;

/// Every service, each in a process of its own.
pub struct Fleet {
    running: BTreeMap<&'static str, Running>,
    ended: Vec<String>,
}

impl Fleet {
    /// The services, in the order in which a reader meets them.
    pub const SERVICES: [&'static str; 8] = mastwatch::compose::SERVICES;

    /// Starts them all.
    ///
    /// # Errors
    ///
    /// When the binary is missing.
    pub fn start(stack: &Stack) -> anyhow::Result<Self> {
        let each = Self::SERVICES.into_iter().map(|service| Ok((service, stack.run(&[service])?)));
        Ok(Self { running: each.collect::<anyhow::Result<_>>()?, ended: Vec::new() })
    }

    /// The process of one service.
    ///
    /// # Panics
    ///
    /// When there is no such service.
    pub fn of(&mut self, service: &str) -> &mut Running {
        self.running.get_mut(service).expect("every service runs")
    }

    /// Starts a service that was killed.
    ///
    /// # Errors
    ///
    /// When the binary is missing.
    pub fn start_again(&mut self, stack: &Stack, service: &'static str) -> anyhow::Result<()> {
        self.running.insert(service, stack.run(&[service])?);
        Ok(())
    }

    /// Starts what has ended by itself, but for `away`, and writes it down.
    ///
    /// # Errors
    ///
    /// When the binary is missing.
    pub fn mind(&mut self, stack: &Stack, away: &[&str]) -> anyhow::Result<()> {
        for (service, running) in &mut self.running {
            if away.contains(service) {
                continue;
            }
            if let Some(status) = running.has_ended() {
                self.ended.push(format!("{service} ended by itself ({status}):\n{}", running.said()));
                *running = stack.run(&[service])?;
            }
        }
        Ok(())
    }

    /// What ended by itself since this was last asked.
    pub fn ended(&mut self) -> Vec<String> {
        std::mem::take(&mut self.ended)
    }

    /// The last lines that the services of these names wrote.
    pub fn said(&self, services: &[&str]) -> String {
        let named = self.running.iter().filter(|(name, _)| services.contains(name));
        named.map(|(name, running)| format!("--- {name}\n{}\n", running.said())).collect()
    }
}
