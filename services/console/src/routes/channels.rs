//! Channels: the ways to reach people. Secrets go in and never come out.

use crate::{
    desk::{Answer, Desk, Within},
    import::Change,
    laid::Key,
    read_models::ChannelRow,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use events::{Audience, Channel, ChannelId, ChannelKind, Inventory};
use kit::{config::Secret, http::Problem};
use serde::Deserialize;
use url::Url;
use utoipa::ToSchema;
use vault::{Field, TenantKeys};

/// The longest name and address.
const TEXT_MAX: usize = 1_000;
/// The most recipients of mail.
const RECIPIENTS_MAX: usize = 50;

/// Whom a channel reaches.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reaches {
    /// Network engineers.
    Engineers,
    /// Field technicians.
    Technicians,
    /// Support.
    Support,
}

/// A channel that is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewChannel {
    /// Whom it reaches.
    audience: Reaches,
    /// An HTTP POST signed after Standard Webhooks.
    webhook: Option<NewWebhook>,
    /// Mail over SMTP.
    email: Option<NewEmail>,
}

/// A webhook.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWebhook {
    /// Where to: `https://…`.
    url: String,
    /// `whsec_` and 24 to 64 bytes in base64.
    #[schema(value_type = String)]
    secret: Secret,
}

/// Mail.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewEmail {
    /// `smtp://host:port` or `smtps://host:port`.
    server: String,
    /// Who it is from.
    from: String,
    /// Who gets it: 1 to 50.
    to: Vec<String>,
    /// The user at the server.
    #[schema(value_type = Option<String>)]
    user: Option<Secret>,
    /// That user's password.
    #[schema(value_type = Option<String>)]
    password: Option<Secret>,
}

/// The tenant's channels.
#[utoipa::path(get, path = "/api/v1/channels", tag = "channels", responses((status = 200, body = Vec<ChannelRow>)))]
pub(crate) async fn list(State(desk): State<Desk>, within: Within) -> Answer<Json<Vec<ChannelRow>>> {
    Ok(Json(desk.models.channels(within.tenant).await?))
}

/// Makes a channel, or puts it in the place of the one of the same name.
#[utoipa::path(
    put, path = "/api/v1/channels/{name}", tag = "channels", params(("name" = String, Path)),
    request_body = NewChannel, responses((status = 204), (status = 422))
)]
pub(crate) async fn put(
    State(desk): State<Desk>,
    within: Within,
    Path(name): Path<String>,
    Json(new): Json<NewChannel>,
) -> Answer<StatusCode> {
    if name.is_empty() || name.len() > 200 {
        return Err(Problem::impossible("name", "the name is 1 to 200 bytes").into());
    }
    let keys = desk.register.keys(within.tenant).await?;
    let keys = keys.ok_or_else(|| Problem::not_found("there is no such tenant"))?;
    let id = ChannelId::of(within.tenant, &name);
    let kind = match (new.webhook, new.email) {
        (Some(webhook), None) => webhook_kind(&webhook, id, &keys)?,
        (None, Some(email)) => email_kind(email, id, &keys)?,
        (Some(_), Some(_)) | (None, None) => {
            return Err(Problem::impossible("channel", "give either `webhook` or `email`").into());
        }
    };
    let audience = match new.audience {
        Reaches::Engineers => Audience::Engineers,
        Reaches::Technicians => Audience::Technicians,
        Reaches::Support => Audience::Support,
    };
    let channel = Inventory::Channel(Channel { id, name, audience, kind });
    say(&desk, &within, channel, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a channel.
#[utoipa::path(
    delete, path = "/api/v1/channels/{name}", tag = "channels", params(("name" = String, Path)),
    responses((status = 204), (status = 404))
)]
pub(crate) async fn delete(
    State(desk): State<Desk>,
    within: Within,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    let id = ChannelId::of(within.tenant, &name);
    if !say(&desk, &within, Inventory::ChannelRemoved { id }, id).await? {
        return Err(Problem::not_found("there is no such channel").into());
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Says a change of one channel, unless it is as it was; `false` when one that is not there was to go.
async fn say(desk: &Desk, within: &Within, thing: Inventory, id: ChannelId) -> Answer<bool> {
    let laid = desk.inventories.now(within.tenant).await?;
    let there = laid.things.get(&Key::Channel(id)).map(|lies| lies.like);
    let wanted = crate::laid::like(&thing);
    if there == wanted {
        return Ok(wanted.is_some());
    }
    let change = Change::by_hand(within.tenant, &laid, &within.who.name);
    desk.importer.change(&change, vec![thing], vec![], vec![]).await?;
    Ok(true)
}

fn webhook_kind(new: &NewWebhook, id: ChannelId, keys: &TenantKeys) -> Answer<ChannelKind> {
    let secret = new.secret.reveal();
    let bytes = secret.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
    if !bytes.is_some_and(|bytes| (24..=64).contains(&bytes.len())) {
        let detail =
            "write `whsec_` and 24 to 64 bytes in base64, made by `echo whsec_$(openssl rand -base64 32)`";
        return Err(Problem::impossible("secret", detail).into());
    }
    Ok(ChannelKind::Webhook {
        url: address("url", &new.url, &["http", "https"])?,
        secret: keys.seal(Field::ChannelSecret(id), secret.as_bytes()),
    })
}

fn email_kind(new: NewEmail, id: ChannelId, keys: &TenantKeys) -> Answer<ChannelKind> {
    if new.to.is_empty() || new.to.len() > RECIPIENTS_MAX {
        return Err(Problem::impossible("to", format!("`to` is 1 to {RECIPIENTS_MAX} addresses")).into());
    }
    let is_mail = |text: &String| {
        text.len() <= TEXT_MAX
            && text.split_once('@').is_some_and(|(who, host)| !who.is_empty() && !host.is_empty())
    };
    if !new.to.iter().chain([&new.from]).all(is_mail) {
        return Err(Problem::impossible("address", "write a mail address like `noc@example.net`").into());
    }
    let login = match (&new.user, &new.password) {
        (Some(user), Some(password)) => {
            Some(keys.seal_login(Field::ChannelLogin(id), user.reveal(), password.reveal()))
        }
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            return Err(Problem::impossible("login", "give both `user` and `password`, or neither").into());
        }
    };
    let server = address("server", &new.server, &["smtp", "smtps"])?;
    Ok(ChannelKind::Email { server, from: new.from, to: new.to, login })
}

fn address(key: &str, text: &str, schemes: &[&str]) -> Answer<String> {
    let fits = text.len() <= TEXT_MAX
        && Url::parse(text).is_ok_and(|url| {
            schemes.contains(&url.scheme()) && url.host_str().is_some_and(|host| !host.is_empty())
        });
    if !fits {
        let detail = format!("`{key}` is an address that begins with {}://", schemes.join(":// or "));
        return Err(Problem::impossible(key, detail).into());
    }
    Ok(text.to_owned())
}
