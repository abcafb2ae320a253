//! The console's API, as the command line uses it.

use anyhow::{Context, bail};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where the console is and who we are.
#[derive(Debug, Clone, clap::Args)]
pub struct Server {
    /// The console's address.
    #[arg(long, env = "MASTWATCH_CONSOLE_URL", default_value = "http://127.0.0.1:8080", global = true)]
    pub console: String,
    /// The token to use. By default the administrator's, from the data directory.
    #[arg(long, env = "MASTWATCH_TOKEN", hide_env_values = true, global = true)]
    pub token: Option<String>,
    /// The data directory of `mastwatch up`.
    #[arg(long, env = "MASTWATCH_DATA", default_value = "mastwatch-data", global = true)]
    pub data: PathBuf,
    /// The tenant to speak of, where the token is good for several.
    #[arg(long, env = "MASTWATCH_TENANT", global = true)]
    pub tenant: Option<String>,
}

/// The file the administrator's token is kept in, below the data directory.
pub fn token_file(data: &Path) -> PathBuf {
    data.join("administrator.token")
}

/// The file the console's address is kept in, below the data directory.
pub fn address_file(data: &Path) -> PathBuf {
    data.join("console.url")
}

/// How far a list was read.
#[derive(Debug, Default)]
pub enum Cursor {
    /// Not at all.
    #[default]
    Start,
    /// To here: the console's own word for it.
    After(String),
    /// To its end.
    End,
}

/// A connection to the console.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    token: String,
    tenant: Option<String>,
}

impl Server {
    /// A connection with these settings.
    ///
    /// # Errors
    ///
    /// When there is no token to be found.
    pub fn api(&self) -> anyhow::Result<Api> {
        let kept = || std::fs::read_to_string(token_file(&self.data)).ok().map(|t| t.trim().to_owned());
        let token = self.token.clone().or_else(kept).with_context(|| {
            format!(
                "finding a token: give --token or MASTWATCH_TOKEN, or name the data directory of `mastwatch up` by --data \
                 (looked in {})",
                token_file(&self.data).display()
            )
        })?;
        // A second installation on one machine has other ports: its data directory knows them.
        let is_default = self.console == "http://127.0.0.1:8080";
        let known = std::fs::read_to_string(address_file(&self.data)).ok().filter(|_| is_default);
        let base = known.map_or_else(|| self.console.clone(), |url| url.trim().to_owned());
        Ok(Api::new(base, token, self.tenant.clone()))
    }
}

impl Api {
    /// A connection to the console at `base`.
    pub fn new(base: String, token: String, tenant: Option<String>) -> Self {
        kit::telemetry::use_ring();
        Self { http: reqwest::Client::new(), base, token, tenant }
    }

    /// The same connection, speaking of one tenant.
    #[must_use]
    pub fn as_tenant(&self, tenant: &str) -> Self {
        Self { tenant: Some(tenant.to_owned()), ..self.clone() }
    }

    /// Sends a request and gives its answer whole; an error answer becomes an error that says what is wrong.
    ///
    /// # Errors
    ///
    /// When the console is not reached or refuses.
    pub async fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> anyhow::Result<Value> {
        answer(path, self.send(method, path, body).await?).await
    }

    /// Asks the console to do something, with what there is to say as JSON.
    ///
    /// # Errors
    ///
    /// When the console is not reached or refuses.
    pub async fn say(&self, method: Method, path: &str, said: &Value) -> anyhow::Result<Value> {
        let request = self.request(method, path).json(said);
        answer(path, self.sent(request).await?).await
    }

    /// Sends a request and gives the answer to be read bit by bit.
    ///
    /// # Errors
    ///
    /// When the console is not reached.
    pub async fn send(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> anyhow::Result<Response> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.body(body);
        }
        self.sent(request).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        match &self.tenant {
            Some(tenant) => request.header("x-tenant", tenant),
            None => request,
        }
    }

    async fn sent(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        request.send().await.with_context(|| {
            format!(
                "reaching the console at {}: is `mastwatch up` running, and is --console right?",
                self.base
            )
        })
    }

    /// GETs a path.
    ///
    /// # Errors
    ///
    /// As [`Api::call`].
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    /// GETs a path; none when there is no such thing.
    ///
    /// # Errors
    ///
    /// As [`Api::call`].
    pub async fn find(&self, path: &str) -> anyhow::Result<Option<Value>> {
        let response = self.send(Method::GET, path, None).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            _ => answer(path, response).await.map(Some),
        }
    }

    /// The first page of a list, and the one after `cursor` from then on; none when there is no further one.
    ///
    /// # Errors
    ///
    /// As [`Api::call`].
    pub async fn page(&self, path: &str, cursor: &mut Cursor) -> anyhow::Result<Option<Value>> {
        let at = match &*cursor {
            Cursor::Start => path.to_owned(),
            Cursor::After(place) => {
                format!("{path}{}cursor={place}", if path.contains('?') { '&' } else { '?' })
            }
            Cursor::End => return Ok(None),
        };
        let page = self.get(&at).await?;
        *cursor = page["next"].as_str().map_or(Cursor::End, |place| Cursor::After(place.to_owned()));
        Ok(Some(page))
    }

    /// The first `most` things of a list, in as many pages as they take. Errors call them `what`.
    ///
    /// # Errors
    ///
    /// As [`Api::call`], and when the answer is no list.
    pub async fn list(&self, path: &str, most: usize, what: &str) -> anyhow::Result<Vec<Value>> {
        let (mut found, mut cursor) = (Vec::new(), Cursor::default());
        while found.len() < most
            && let Some(mut page) = self.page(path, &mut cursor).await?
        {
            match page["items"].take() {
                Value::Array(items) => found.extend(items),
                _ => bail!("reading {what}: the console sent none"),
            }
        }
        found.truncate(most);
        Ok(found)
    }
}

/// A path below a list of the API, of names that may hold anything.
pub(crate) fn path_below(list: &str, names: &[&str]) -> anyhow::Result<String> {
    let mut url =
        Url::parse("http://console/api/v1/").and_then(|url| url.join(list)).context("making the path")?;
    match url.path_segments_mut() {
        Ok(mut path) => _ = path.extend(names),
        Err(()) => bail!("making the path of `{}`", names.join("/")),
    }
    Ok(url.path().to_owned())
}

/// A path with one more thing that is asked for, whose value may hold anything.
pub(crate) fn path_with(path: &str, key: &str, value: &str) -> String {
    let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
    format!("{path}{}{key}={value}", if path.contains('?') { '&' } else { '?' })
}

/// An answer whole; an error when it is a refusal.
async fn answer(path: &str, response: Response) -> anyhow::Result<Value> {
    let status = response.status();
    let text = response.text().await.with_context(|| format!("reading the console's answer to {path}"))?;
    if status.is_success() {
        return Ok(serde_json::from_str(&text).unwrap_or(Value::Null));
    }
    bail!("{}", refusal(status, &text))
}

/// What a problem+json answer says, every single fault on a line of its own.
pub(crate) fn refusal(status: StatusCode, text: &str) -> String {
    let Ok(problem) = serde_json::from_str::<Value>(text) else {
        return format!("the console answered {status}");
    };
    let title = problem["detail"].as_str().or(problem["title"].as_str()).unwrap_or("no reason given");
    let mut said = format!("{title} ({status})");
    let faults = ["problems", "errors"].iter().find_map(|key| problem[*key].as_array());
    for fault in faults.into_iter().flatten() {
        let place = match (fault["file"].as_str(), fault["line"].as_u64(), fault["column"].as_u64()) {
            (Some(file), Some(line), Some(column)) => format!("{file}:{line}:{column}: "),
            _ => String::new(),
        };
        let message = fault["message"].as_str().unwrap_or_default();
        let hint = fault["hint"].as_str().map(|h| format!("; {h}")).unwrap_or_default();
        said.push_str(&format!("\n  {place}{message}{hint}"));
    }
    said
}
