//! How a router's API answers: as it should, or as the APIs of routers do that are half dead.

use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Between two bytes of one that trickles.
const BYTE_EVERY: Duration = Duration::from_secs(1);

/// How a router's API answers whoever speaks to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manner {
    /// As it should.
    #[default]
    Well,
    /// One byte a second.
    Trickles,
    /// The connection ends in the middle of a reply.
    BreaksOff,
    /// It hears everything and answers nothing.
    Mute,
}

impl Manner {
    /// Says one reply in this manner. Whether the connection goes on.
    pub(super) async fn say(self, reply: &[u8], to: &mut (impl AsyncWrite + Unpin)) -> bool {
        match self {
            Manner::Well => to.write_all(reply).await.is_ok() && to.flush().await.is_ok(),
            Manner::Trickles => {
                for byte in reply.chunks(1) {
                    if to.write_all(byte).await.is_err() || to.flush().await.is_err() {
                        return false;
                    }
                    tokio::time::sleep(BYTE_EVERY).await;
                }
                true
            }
            Manner::BreaksOff => {
                // Whether the half of it arrives is all the same: the rest does not.
                let _half = to.write_all(&reply[..reply.len() / 2]).await.is_ok() && to.flush().await.is_ok();
                false
            }
            Manner::Mute => true,
        }
    }
}
