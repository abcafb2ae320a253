//! Many ICMP targets, each looked at once, all at the same time.
//!
//! All of them answer: they are addresses of this machine. What is lost is lost on our side, and would
//! be a false alarm. The limit is `fping -i 0`, which sends as fast as it can.

use crate::{
    machine::{self, quantile},
    progress,
};
use anyhow::{Context, bail};
use futures::{StreamExt, stream};
use poller::{
    echo::{Icmp, Pinger},
    tries::{Ended, rest, three_tries},
};
use serde_json::{Value, json};
use std::{
    net::{IpAddr, Ipv4Addr},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};
use tokio::{io::AsyncWriteExt, process::Command};

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many targets.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    targets: u32,
    /// Probes waiting at once, as the poller's `watches_at_once`.
    #[arg(long, default_value_t = 4_000)]
    at_once: usize,
    /// Echoes under way at once, as the poller's `echoes_at_once`.
    #[arg(long, default_value_t = 1_000)]
    echoes: usize,
}

/// Runs it.
///
/// # Errors
///
/// When no echo can be sent at all.
pub(crate) async fn run(args: &Args) -> anyhow::Result<Value> {
    let load = machine::load();
    let targets: Vec<IpAddr> = (0..args.targets).map(target).collect();
    progress(format_args!("probe: {} targets with our pinger", targets.len()));
    let ours = sweep(&targets, args).await?;
    progress("probe: the same with fping");
    let theirs = fping(&targets).await?;
    let ok = ours["lost"] == 0 && ours["lost_first_tries"] == 0;
    let mut line =
        json!({ "bench": "probe", "ok": ok, "targets": args.targets, "ours": ours, "fping": theirs });
    machine::lay(&mut line, machine::facts(load));
    Ok(line)
}

/// The `n`th address from 127.64.0.1 on, which is nobody's on any machine.
fn target(n: u32) -> IpAddr {
    let [_, b, c, d] = (n + 1).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 64 + b, c, d))
}

/// Looks at each once, with three tries as the poller does.
async fn sweep(targets: &[IpAddr], args: &Args) -> anyhow::Result<Value> {
    let icmp = Arc::new(Icmp::new(args.echoes));
    let echoes = Arc::new(AtomicU64::new(0));
    let (cpu, began) = (embedded::cpu_time_of_one(std::process::id())?, Instant::now());
    let looks = targets.iter().map(|host| {
        let (icmp, echoes, host) = (Arc::clone(&icmp), Arc::clone(&echoes), *host);
        tokio::spawn(async move {
            let mut turn = Some(icmp.turn(host).await?);
            let attempt = |n: usize| {
                let (turn, icmp, echoes) = (turn.take(), Arc::clone(&icmp), Arc::clone(&echoes));
                async move {
                    echoes.fetch_add(1, Ordering::Relaxed);
                    icmp.echo(host, rest(n), turn).await
                }
            };
            Ok::<_, String>(three_tries(attempt, |_| {}).await)
        })
    });
    let mut looks = stream::iter(looks).buffer_unordered(args.at_once.max(1));
    let (mut lost, mut rtts_us) = (0_u64, Vec::with_capacity(targets.len()));
    while let Some(look) = looks.next().await {
        match look?.map_err(anyhow::Error::msg)? {
            Ended::Replied(rtt) => rtts_us.push(rtt.as_micros() as u64),
            Ended::Silent => lost += 1,
            Ended::Unanswered(why) => bail!("a probe could not be made: {why}"),
        }
    }
    let took = began.elapsed();
    let spent = embedded::cpu_time_of_one(std::process::id())?.saturating_sub(cpu);
    rtts_us.sort_unstable();
    Ok(json!({
        "answered": rtts_us.len(),
        "lost": lost,
        "lost_first_tries": echoes.load(Ordering::Relaxed) - targets.len() as u64,
        "took_ms": took.as_millis() as u64,
        "targets_per_second": (targets.len() as f64 / took.as_secs_f64()) as u64,
        "cpu_us_per_target": machine::round(spent.as_micros() as f64 / targets.len() as f64),
        "rtt_us_p50": quantile(&rtts_us, 0.5),
        "rtt_us_p99": quantile(&rtts_us, 0.99),
        "window": icmp.window(),
        "receive_buffer_bytes": icmp.buffer_bytes(),
    }))
}

/// One packet to each as fast as fping sends them; `"absent"` where there is no fping.
async fn fping(targets: &[IpAddr]) -> anyhow::Result<Value> {
    let began = Instant::now();
    let child = Command::new("fping")
        .args(["-i", "0", "-r", "0", "-t", "2000", "-q", "-s"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(json!("absent")),
        Err(error) => return Err(error).context("starting fping"),
    };
    let mut stdin = child.stdin.take().context("fping has no standard input")?;
    let list: String = targets.iter().map(|host| format!("{host}\n")).collect();
    stdin.write_all(list.as_bytes()).await.context("telling fping its targets")?;
    drop(stdin);
    let out = child.wait_with_output().await?;
    let took = began.elapsed();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let alive = summary(&said, "alive").with_context(|| format!("fping said: {said}"))?;
    Ok(json!({
        "answered": alive,
        "lost": targets.len() as u64 - alive,
        "took_ms": took.as_millis() as u64,
        "targets_per_second": (targets.len() as f64 / took.as_secs_f64()) as u64,
    }))
}

/// The figure before `what` in fping's summary: `   20000 alive`.
fn summary(said: &str, what: &str) -> Option<u64> {
    let line = said.lines().map(str::trim).find(|line| line.ends_with(what))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_all_different_and_loopback() {
        let all: std::collections::BTreeSet<IpAddr> = (0..70_000).map(target).collect();
        assert_eq!(all.len(), 70_000);
        assert!(all.iter().all(IpAddr::is_loopback));
    }

    #[test]
    fn the_summary_of_fping_is_read() {
        let said = "\n   20000 targets\n   19998 alive\n       2 unreachable\n";
        assert_eq!(summary(said, "alive"), Some(19_998));
        assert_eq!(summary("fping: no", "alive"), None);
    }
}
