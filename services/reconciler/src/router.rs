//! What is asked of a router and done there, over its API.

use domain::{
    plan::{Actual, Change, Menu, Row, Told, script::Pusher},
    reporter::{Entry, RouterTold},
};
use routeros_api::{
    CallError, Command, Question, Router, RouterError,
    question::{Netwatch, Uptime, WatchStatus},
    value,
};
use std::{borrow::Cow, collections::BTreeMap, time::Duration};

/// Reads what a plan looks at. A menu that the router does not have has no rows.
///
/// # Errors
///
/// When the router does not answer, or refuses.
pub async fn read(
    router: &Router,
    menus: impl IntoIterator<Item = Menu>,
    within: Duration,
) -> Result<Actual, RouterError> {
    let mut actual = Actual::default();
    for menu in menus {
        let command = Command::new(&format!("{}/print", menu.path())).proplist(menu.properties());
        let rows = or_none(router.call(&command, within).await)?;
        actual.told(menu, rows.iter().map(|row| row_of(menu, row)).collect());
    }
    Ok(actual)
}

fn row_of(menu: Menu, row: &routeros_api::Row) -> Row {
    let told = |name: &&'static str| Some(((*name).to_owned(), row.text(name)?.into_owned()));
    let values: BTreeMap<String, String> = menu.properties().iter().filter_map(told).collect();
    Row { id: values.get(".id").cloned().unwrap_or_default(), values }
}

/// A router without the package of a menu does not know the menu.
fn or_none(told: Result<routeros_api::Reply, RouterError>) -> Result<Vec<routeros_api::Row>, RouterError> {
    match told {
        Ok(reply) => Ok(reply.rows),
        Err(RouterError::Call(CallError::Trap(trap))) if trap.is_no_such_command() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Makes one change.
///
/// # Errors
///
/// When the router refuses it, or does not answer.
pub async fn make(router: &Router, change: &Change, within: Duration) -> Result<(), RouterError> {
    let command = change
        .attributes()
        .into_iter()
        .fold(Command::new(&change.command()), |command, (name, value)| command.with(name, value));
    router.call(&command, within).await.map(|_| ())
}

/// What a router tells of itself before anything is written there, and how long it has been up.
///
/// # Errors
///
/// When the router does not answer. What it does not let us see is left out.
pub async fn told(router: &Router, within: Duration) -> Result<(Told, Duration), RouterError> {
    let resource =
        router.call(&Command::new("/system/resource/print").proplist(&["version", "uptime"]), within).await?;
    let version = resource.rows.first().and_then(|row| row.text("version"));
    let version = version.map(Cow::into_owned).unwrap_or_default();
    let uptime = Uptime.read(&resource).map_err(RouterError::Unreadable)?;
    let mode = or_hidden(router.call(&Command::new("/system/device-mode/print"), within).await)?;
    let allows = |name: &str| value::truth(&mode.first()?.text(name)?).ok();
    let user = router.target().credentials.user().to_owned();
    let user = Command::new("/user/print").proplist(&["group"]).equal("name", user);
    let group = or_hidden(router.call(&user, within).await)?;
    let policies = match group.first().and_then(|row| row.text("group")) {
        Some(group) => {
            let group = Command::new("/user/group/print").proplist(&["policy"]).equal("name", &*group);
            let rows = or_hidden(router.call(&group, within).await)?;
            rows.first().and_then(|row| row.text("policy")).map(Cow::into_owned)
        }
        None => None,
    };
    Ok((Told { version, fetch: allows("fetch"), scheduler: allows("scheduler"), policies }, uptime))
}

/// Has a router push once, as its scripts do: that it is up itself. So it is known whether it reaches us, is let in and may
/// fetch, before something happens that it is to tell of. `thing` is its id in the network file.
///
/// # Errors
///
/// When the router does not answer, may not, or is not answered with 2xx.
pub async fn test_fire(
    router: &Router,
    pusher: &Pusher,
    thing: &str,
    within: Duration,
) -> Result<(), RouterError> {
    let body = serde_json::json!({ "id": thing, "status": "up" }).to_string();
    let headers = format!("Content-Type:application/json,Authorization:Bearer {}", pusher.token);
    let command = Command::new("/tool/fetch")
        .with("url", format!("{}/api/webhooks/mikrotik/device-status", pusher.url))
        .with("http-method", "post")
        .with("http-data", body)
        .with("http-header-field", headers)
        .with("check-certificate", if pusher.checks_certificate { "yes" } else { "no" })
        .with("output", "none");
    router.call(&command, within).await.map(|_| ())
}

/// What a router is called and which board it is, as it says.
///
/// # Errors
///
/// When the router does not answer. What it does not let us see is left out.
pub async fn itself(
    router: &Router,
    within: Duration,
) -> Result<(Option<String>, Option<String>), RouterError> {
    let first = async |menu: &str, name: &'static str| {
        let rows = or_hidden(router.call(&Command::new(menu).proplist(&[name]), within).await)?;
        let said = rows.first().and_then(|row| row.text(name)).filter(|text| !text.is_empty());
        Ok::<_, RouterError>(said.map(|text| text.chars().take(100).collect::<String>()))
    };
    let identity = first("/system/identity/print", "name").await?;
    Ok((identity, first("/system/resource/print", "board-name").await?))
}

/// What a router does not let us see, or does not know, is not told.
fn or_hidden(told: Result<routeros_api::Reply, RouterError>) -> Result<Vec<routeros_api::Row>, RouterError> {
    match told {
        Ok(reply) => Ok(reply.rows),
        Err(RouterError::Call(CallError::Trap(_))) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Users and MAC addresses that have a session at a router.
#[derive(Default)]
pub(crate) struct Present {
    pub(crate) users: Vec<String>,
    pub(crate) macs: Vec<String>,
}

/// What a router says of those it sees: its netwatch entries, and with `sessions` who has a session there.
///
/// # Errors
///
/// When the router does not answer, or refuses.
pub(crate) async fn seen(
    router: &Router,
    uptime: Duration,
    sessions: bool,
    within: Duration,
) -> Result<(RouterTold, Present), RouterError> {
    let entries = router.ask(&Netwatch, within).await?;
    let entry = |watch: routeros_api::question::Watch| Entry {
        host: watch.host,
        comment: watch.comment.unwrap_or_default(),
        name: watch.name,
        is_up: match watch.status {
            WatchStatus::Up if !watch.is_disabled => Some(true),
            WatchStatus::Down if !watch.is_disabled => Some(false),
            WatchStatus::Up | WatchStatus::Down | WatchStatus::Unknown => None,
        },
    };
    let told = RouterTold {
        uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
        entries: entries.into_iter().map(entry).collect(),
        present: None,
    };
    let mut present = Present::default();
    if sessions {
        let ppp = Command::new("/ppp/active/print").proplist(&["name"]);
        let rows = or_none(router.call(&ppp, within).await)?;
        present.users.extend(rows.iter().filter_map(|row| row.text("name")).map(Cow::into_owned));
        let properties = ["mac-address", "active-mac-address", "status"];
        let leases =
            Command::new("/ip/dhcp-server/lease/print").proplist(&properties).equal("status", "bound");
        let rows = or_none(router.call(&leases, within).await)?;
        let said =
            |row: &routeros_api::Row, name| row.text(name).filter(|mac| !mac.is_empty()).map(Cow::into_owned);
        let mac = |row| said(row, "active-mac-address").or_else(|| said(row, "mac-address"));
        present.macs.extend(rows.iter().filter_map(mac));
    }
    Ok((told, present))
}
