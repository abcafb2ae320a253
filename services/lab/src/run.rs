//! The lab as a program: a network file in, a simulated ISP and its control interface out.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;

use crate::control;
use crate::lab::Lab;
use crate::network::Network;
use crate::settings::Settings;

/// What the lab is told when it starts.
#[derive(Debug, Clone)]
pub struct Config {
    /// The network file, the same that is imported.
    pub network: PathBuf,
    /// Where the control interface listens.
    pub control: SocketAddr,
    /// How routers behave. Without an address of ingest the file's `lab.reports_to` holds.
    pub settings: Settings,
    /// A TUN device on which every address of the network answers echo requests; needs privileges.
    pub icmp_device: Option<String>,
}

/// Runs until `shutdown` ends.
///
/// # Errors
///
/// When the file cannot be read or played, or an address cannot be had.
pub async fn run(config: Config, shutdown: impl Future<Output = ()> + Send) -> anyhow::Result<()> {
    let path = &config.network;
    let name = path.display().to_string();
    let text = tokio::fs::read_to_string(path).await.with_context(|| format!("reading {name}"))?;
    let base = path.parent().map(PathBuf::from).unwrap_or_default();
    let file = network_file::parse(&name, &text, &network_file::SecretsHere { base })?;
    let mut settings = config.settings;
    if settings.ingest.is_none()
        && let Some(url) = &file.lab.reports_to
    {
        settings.ingest = Some(url.parse().with_context(|| format!("reading `reports_to` of {name}"))?);
    }
    let network = Network::from_file(&file).with_context(|| format!("playing {name}"))?;
    drop(file);
    let lab = Lab::start(network, settings).await?;
    if let Some(device) = &config.icmp_device {
        crate::icmp::answer_on(&lab, device).with_context(|| format!("opening the TUN device {device}"))?;
    }
    let (address, serving) = control_at(&lab, config.control).await?;
    let (nodes, routers) = (lab.network().nodes().len(), lab.network().routers().len());
    tracing::info!(%address, nodes, routers, "the lab is up");
    tokio::select! {
        served = serving => served?,
        () = shutdown => {}
    }
    lab.stop().await;
    Ok(())
}

/// Listens for those who break and mend things (`mastwatch lab …`): where, and what serves them.
///
/// # Errors
///
/// When the address cannot be had.
pub async fn control_at(
    lab: &Arc<Lab>,
    address: SocketAddr,
) -> anyhow::Result<(SocketAddr, impl Future<Output = anyhow::Result<()>> + Send + 'static)> {
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("listening for the lab's control interface on {address}"))?;
    let address = listener.local_addr().context("asking for the control interface's address")?;
    let routes = control::routes(Arc::clone(lab));
    let serving =
        async move { axum::serve(listener, routes).await.context("serving the lab's control interface") };
    Ok((address, serving))
}
