//! How a router is spoken to: the RouterOS API protocol, sessions and a pool of them.
//!
//! [`wire`] is the protocol itself, both directions, without input or output. [`session`] is one
//! logged-in connection that carries many commands at once. [`pool`] keeps one session per router
//! alive and limits what is asked of it. [`question`] is what mastwatch wants to know, as types.
//!
//! A router is not trusted: nothing it sends makes this crate hold more than its limits say, wait
//! longer than its deadlines say, or panic. An answer that does not come is an error that tells
//! *how* it did not come, because a refused connection and a silent one mean different things.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use routeros_api::question::{PppActive, Resource};
//! use routeros_api::{Command, Credentials, Options, Policy, Router, Target};
//!
//! # async fn example() -> Result<(), routeros_api::RouterError> {
//! let router = Router::new(
//!     Target {
//!         address: "192.0.2.1:8728".parse().expect("an address and a port"),
//!         source: None,
//!         credentials: Credentials::new("nms", "secret"),
//!         options: Options::default(),
//!     },
//!     Policy::default(),
//! );
//! let within = Duration::from_secs(30);
//! let now = router.ask(&Resource, within).await?;
//! println!("{} up for {:?}", now.version.text, now.uptime);
//! for session in router.ask(&PppActive::all(), within).await? {
//!     println!("{} at {:?}", session.name, session.address);
//! }
//! let wired = Command::new("/interface/print").proplist(&["name"]).equal("type", "ether");
//! for row in router.call(&wired, within).await?.rows {
//!     println!("{}", row.text("name").unwrap_or_default());
//! }
//! # Ok(())
//! # }
//! ```

pub mod command;
pub mod login;
pub mod pool;
pub mod question;
pub mod session;
pub mod tls;
pub mod value;
pub mod wire;

pub use crate::command::{Command, Reply, Row, Trap, TrapCategory};
pub use crate::login::Credentials;
pub use crate::pool::{Policy, Pool, Router, RouterError, Target};
pub use crate::question::{AskError, Question};
pub use crate::session::{CallError, ConnectError, Options, Session};
pub use crate::tls::{Fingerprint, Tls, Unvouched};
