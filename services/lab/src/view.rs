//! A router as a person with its API sees it: for showing what is really on it.

use anyhow::Context;
use routeros_api::{Command, Credentials, Options, Policy, Router, Target};
use std::{net::SocketAddr, time::Duration};

/// How long a router may take to answer.
const WITHIN: Duration = Duration::from_secs(10);

/// A session of somebody who looks, and now and then deletes something.
pub struct View {
    router: Router,
}

impl View {
    /// Logs in when it is used.
    pub fn of(address: SocketAddr, user: &str, password: &str) -> Self {
        let credentials = Credentials::new(user, password);
        let target = Target { address, source: None, credentials, options: Options::default() };
        Self { router: Router::new(target, Policy::default()) }
    }

    /// The rows of a menu such as `/tool/netwatch`, each with these properties; what a row does not have is empty.
    ///
    /// # Errors
    ///
    /// When the router does not answer, or refuses.
    pub async fn rows(&self, menu: &str, properties: &[&str]) -> anyhow::Result<Vec<Vec<String>>> {
        let command = Command::new(&format!("{menu}/print")).repeatable();
        let reply = self.router.call(&command, WITHIN).await.with_context(|| format!("printing {menu}"))?;
        let row = |row: &routeros_api::Row| {
            let value = |name: &&str| row.text(name).map(std::borrow::Cow::into_owned).unwrap_or_default();
            properties.iter().map(value).collect()
        };
        Ok(reply.rows.iter().map(row).collect())
    }

    /// Deletes the rows of a menu whose property has this value, and says how many there were.
    ///
    /// # Errors
    ///
    /// When the router does not answer, or refuses.
    pub async fn delete(&self, menu: &str, property: &str, value: &str) -> anyhow::Result<usize> {
        let mut deleted = 0;
        for row in self.rows(menu, &[".id", property]).await? {
            if row[1] == value {
                let command = Command::new(&format!("{menu}/remove")).with(".id", &row[0]);
                self.router.call(&command, WITHIN).await.with_context(|| format!("deleting in {menu}"))?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }
}
