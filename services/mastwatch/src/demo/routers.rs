//! The demonstration of `mastwatch up --demo=routers`: a router is added, installed, scanned and put right again; a
//! subscriber is suspended while his router is away. What the router itself shows stands beside what we say.

use super::{PATIENCE, Stage, api_port, next, settled, tell};
use crate::{
    api::Api,
    history::{self, HistoryArgs},
    onboard::{self, RouterLogin},
    router::look,
    scout::{self, DeviceArgs},
    show,
};
use anyhow::{Context, bail};
use lab::{Lab, view::View};
use network_file::{NetworkFile, OnlyWrittenOut};
use reqwest::Method;
use serde_json::Value;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// The routers' time runs so much faster than ours: a netwatch entry that looks every 30 s looks every three.
const HURRY: f64 = 10.0;
/// Who is added, and where it is.
const TOWER: (&str, &str) = ("tower", "127.20.0.2");
/// How everybody logs in to the played routers. Guards nothing but a simulation.
const LOGIN: (&str, &str) = ("nms", "s3cret");
/// Whose service is suspended.
const ACCOUNT: &str = "c-1002";

/// What the operator has written down: a core with four subscribers.
const WRITTEN: &str = "
tenant: {id: hillside, name: Hillside Broadband}
policy: {resolve_hold: 5s, recover_hold: 20s, blind_after_boot: 5s}
channels:
  - {name: noc, audience: engineers, webhook: {url: 'NOTICES', secret: whsec_bWFzdHdhdGNoIGRlbW8gc2lnbmluZyBzZWNyZXQhISE=}}
  - {name: field, audience: technicians, webhook: {url: 'NOTICES', secret: whsec_bWFzdHdhdGNoIGRlbW8gc2lnbmluZyBzZWNyZXQhISE=}}
sites:
  - {id: mill-hill, name: Mill Hill, address: 81 The Ridgeway}
devices:
  - {id: core, name: Core at Mill Hill, class: router, tier: core, site: mill-hill, address: 127.20.0.1, heartbeat: {probe: routeros, every: 5s},
     login: {user: nms, password: s3cret, port: PORT, manage: on, enforce: on}}
subscribers:
  - {account: c-1001, parent: core, user: pppoe-1001, service: {state: active}}
  - {account: c-1002, parent: core, user: pppoe-1002, service: {state: active}}
  - {account: c-1003, parent: core, user: pppoe-1003, service: {state: active}}
  - {account: c-1004, parent: core, user: pppoe-1004, service: {state: active}}
";

/// What is played besides: a tower nobody has written down, with three boxes on it.
const PLAYED: &str = "
  - {id: tower, name: Tower, class: router, tier: site, site: mill-hill, parent: core, address: 127.20.0.2,
     login: {user: nms, password: s3cret, port: PORT}}
  - {id: ap-north, name: AP north, class: sector_ap, parent: tower, address: 10.20.1.1}
  - {id: ap-south, name: AP south, class: sector_ap, parent: tower, address: 10.20.1.2}
  - {id: switch, name: Switch, class: switch, parent: tower}
";

/// What the played routers are like: lived in by their operator, nothing of ours on them, and quick to boot.
const HABITS: &str = "
lab:
  netwatch: off
  ppp_scripts: off
  netwatch_delay: 0s
  lived_in: on
  boot: 20s
";

/// Shows it all; the simulation goes on. None when told to stop before the end.
///
/// # Errors
///
/// When something does not happen that should.
pub(super) async fn play(
    stage: &Stage<'_>,
    notices: &mut mpsc::Receiver<Value>,
) -> anyhow::Result<Option<Arc<Lab>>> {
    let (voice, port) = (stage.voice, api_port()?);
    let written = network(WRITTEN, port, stage)?;
    let all = WRITTEN.replace("subscribers:", &format!("{}subscribers:", PLAYED.trim_start_matches('\n')));
    let played = network(&format!("{all}{HABITS}"), port, stage)?;
    let settings = lab::Settings {
        ingest: Some(stage.reports_to.parse().context("reading our own address")?),
        time_scale: HURRY,
        ..lab::Settings::default()
    };
    voice.begins("starting the simulated ISP");
    let lab = Lab::start(lab::network::Network::from_file(&played)?, settings).await?;
    let api = stage.api.as_tenant(&written.tenant.slug);
    voice.begins("importing what its operator has written down");
    api.call(Method::POST, "/api/v1/import", Some(written.to_yaml().into_bytes())).await?;
    voice.begins("waiting until the core is installed and has told whom it sees");
    until("the core is as it should be", || stands(&api, "core", "as_desired")).await?;
    if !settled(&api, stage.stop).await? {
        return Ok(None);
    }
    voice.is_done();
    let story =
        Story { stage, api, lab: &lab, tower: view(TOWER.1, port)?, core: view("127.20.0.1", port)?, port };
    story.adds_a_router().await?;
    story.adds_what_it_sees().await?;
    story.puts_right_what_was_deleted().await?;
    story.makes_good_what_was_lost(notices).await?;
    story.suspends_a_subscriber(notices).await?;
    story.shows_history().await?;
    Ok(Some(lab))
}

fn network(text: &str, port: u16, stage: &Stage<'_>) -> anyhow::Result<NetworkFile> {
    let text = text.replace("PORT", &port.to_string()).replace("NOTICES", &stage.notices_to);
    Ok(network_file::parse("demo.yaml", &text, &OnlyWrittenOut)?)
}

fn view(address: &str, port: u16) -> anyhow::Result<View> {
    Ok(View::of((address.parse::<std::net::IpAddr>()?, port).into(), LOGIN.0, LOGIN.1))
}

/// Asks again until it is so.
async fn until<F: Future<Output = anyhow::Result<bool>>>(
    what: &str,
    mut is_so: impl FnMut() -> F,
) -> anyhow::Result<Duration> {
    let began = Instant::now();
    while !is_so().await? {
        if began.elapsed() > PATIENCE {
            bail!("it never came to this within {} s: {what}", PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(began.elapsed())
}

async fn stands(api: &Api, router: &str, state: &str) -> anyhow::Result<bool> {
    let plan = api.find(&format!("/api/v1/routers/{router}/plan")).await?;
    Ok(plan.is_some_and(|plan| plan["state"] == state))
}

/// What is shown, step by step.
struct Story<'a> {
    stage: &'a Stage<'a>,
    api: Api,
    lab: &'a Lab,
    tower: View,
    core: View,
    port: u16,
}

impl Story<'_> {
    fn headline(&self, text: &str) {
        self.stage.voice.line("");
        self.stage.voice.line(&format!("== {text}"));
    }

    /// Shows rows that a router printed over its own API.
    async fn prints(
        &self,
        (name, view): (&str, &View),
        menu: &str,
        properties: &[&str],
    ) -> anyhow::Result<()> {
        let rows = view.rows(menu, properties).await?;
        if !self.stage.voice.json {
            show::line(format!("   [{name}] {} print", menu.replace('/', " ").trim()));
            let heads: Vec<&str> = properties.to_vec();
            let short = |text: &String| text.chars().take(44).collect::<String>();
            let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(short).collect()).collect();
            if rows.is_empty() {
                show::line("   (nothing)");
            } else {
                show::table(&heads, &rows);
            }
        }
        Ok(())
    }

    async fn adds_a_router(&self) -> anyhow::Result<()> {
        self.headline("A router is added: its address, a user and a password, nothing else.");
        self.stage.voice.line("   mastwatch router add tower --address 127.20.0.2 --user nms --yes");
        let password = self.stage.data.join("demo.password");
        std::fs::write(&password, LOGIN.1).context("keeping the demonstration's password")?;
        let login = RouterLogin::with(TOWER.1, LOGIN.0, &password, self.port);
        let ended = onboard::add(
            TOWER.0,
            &login,
            (Some("Tower at Mill Hill"), Some("core")),
            &self.api,
            self.stage.voice.json,
        )
        .await;
        std::fs::remove_file(&password).context("forgetting the demonstration's password")?;
        ended?;
        self.prints(("tower", &self.tower), "/system/script", &["name", "policy"]).await
    }

    async fn adds_what_it_sees(&self) -> anyhow::Result<()> {
        self.headline("Two of the boxes that it sees are taken into the inventory; the router watches them from then on.");
        for name in ["ap-north", "ap-south"] {
            self.stage.voice.line(&format!("   mastwatch router add <{name}>"));
            let page = self.api.get("/api/v1/sightings?limit=1000&names=true").await?;
            let all = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            let seen = all.iter().find(|device| device["name"] == name);
            let id = seen
                .and_then(|device| device["id"].as_str())
                .with_context(|| format!("nobody sees {name}"))?;
            let wishes = DeviceArgs::called(name);
            scout::add(id, &wishes, (None, None), &self.api, self.stage.voice.json).await?;
        }
        self.prints(("tower", &self.tower), "/tool/netwatch", &["host", "interval", "status", "comment"])
            .await
    }

    async fn puts_right_what_was_deleted(&self) -> anyhow::Result<()> {
        self.headline("Somebody deletes one of these entries on the router. At its next look the reconciler puts it back.");
        let deleted = self.tower.delete("/tool/netwatch", "comment", "mastwatch:ap-north").await?;
        if deleted != 1 {
            bail!("{deleted} entries were deleted instead of one");
        }
        self.prints(("tower", &self.tower), "/tool/netwatch", &["host", "interval", "status", "comment"])
            .await?;
        self.stage.voice.line(
            "   mastwatch router repair tower   (a look now; by itself it comes every 30 to 60 minutes)",
        );
        look(TOWER.0, "repair", &self.api).await?;
        self.prints(("tower", &self.tower), "/tool/netwatch", &["host", "interval", "status", "comment"])
            .await
    }

    async fn makes_good_what_was_lost(&self, notices: &mut mpsc::Receiver<Value>) -> anyhow::Result<()> {
        self.headline("Every webhook is lost from now on, and an access point dies. One look makes it good.");
        let node = self.lab.network().find("ap-south").context("finding the access point")?;
        self.lab.with(|state| state.faults.drop = 1.0);
        self.lab.set_broken(&[node], true);
        until("the router knows that it is down", || async {
            let rows = self.tower.rows("/tool/netwatch", &["host", "status"]).await?;
            Ok(rows.iter().any(|row| row[0] == "10.20.1.2" && row[1] == "down"))
        })
        .await?;
        self.prints(("tower", &self.tower), "/tool/netwatch", &["host", "status", "comment"]).await?;
        self.stage.voice.line("   mastwatch router plan tower");
        look(TOWER.0, "plan", &self.api).await?;
        let Some(notice) = self.next("incident.opened", notices).await? else { return Ok(()) };
        tell(&notice, self.stage.voice);
        self.stage.voice.line("   Webhooks arrive again, and the access point comes back.");
        self.lab.with(|state| state.faults.drop = 0.0);
        self.lab.set_broken(&[node], false);
        let Some(notice) = self.next("incident.resolved", notices).await? else { return Ok(()) };
        tell(&notice, self.stage.voice);
        Ok(())
    }

    async fn next(&self, kind: &str, notices: &mut mpsc::Receiver<Value>) -> anyhow::Result<Option<Value>> {
        next(kind, notices, self.stage.stop, self.stage.voice).await
    }

    async fn suspends_a_subscriber(&self, notices: &mut mpsc::Receiver<Value>) -> anyhow::Result<()> {
        self.headline("The core loses its power, and meanwhile somebody has not paid. The core comes back: he is cut off.");
        let node = self.lab.network().find("core").context("finding the core")?;
        self.lab.set_broken(&[node], true);
        let Some(notice) = self.next("incident.opened", notices).await? else { return Ok(()) };
        tell(&notice, self.stage.voice);
        self.stage.voice.line(&format!("   mastwatch subscriber suspend {ACCOUNT}"));
        self.api.call(Method::POST, &format!("/api/v1/subscribers/{ACCOUNT}/suspend"), None).await?;
        self.lab.set_broken(&[node], false);
        let took = until("the subscriber is cut off", || async {
            let Ok(secrets) = self.core.rows("/ppp/secret", &["name", "disabled"]).await else {
                return Ok(false);
            };
            Ok(secrets.iter().any(|row| row[0] == "pppoe-1002" && row[1] == "true"))
        })
        .await?;
        self.stage.voice.line(&format!("   {:.1} s after its power came back:", took.as_secs_f64()));
        self.prints(("core", &self.core), "/ppp/secret", &["name", "profile", "disabled"]).await?;
        self.prints(("core", &self.core), "/ppp/active", &["name", "address", "uptime"]).await?;
        self.stage.voice.line(&format!("   mastwatch subscriber resume {ACCOUNT}"));
        self.api.call(Method::POST, &format!("/api/v1/subscribers/{ACCOUNT}/resume"), None).await?;
        until("the subscriber is served again", || async {
            let secrets = self.core.rows("/ppp/secret", &["name", "disabled"]).await?;
            Ok(secrets.iter().any(|row| row[0] == "pppoe-1002" && row[1] != "true"))
        })
        .await?;
        self.prints(("core", &self.core), "/ppp/secret", &["name", "profile", "disabled"]).await?;
        let Some(notice) = self.next("incident.resolved", notices).await? else { return Ok(()) };
        tell(&notice, self.stage.voice);
        Ok(())
    }

    async fn shows_history(&self) -> anyhow::Result<()> {
        self.headline("What was measured of it meanwhile.");
        self.stage.voice.line("   mastwatch history ap-north rtt_ms");
        let args = HistoryArgs::of("ap-north", "rtt_ms");
        until("something was measured", || async {
            let page = self.api.get(&history::path(&args)?).await?;
            let series = page["series"].as_array().map(Vec::as_slice).unwrap_or_default();
            Ok(series.iter().any(|one| one["points"].as_array().is_some_and(|points| !points.is_empty())))
        })
        .await?;
        history::run(&args, &self.api, self.stage.voice.json).await
    }
}
