//! Scripts that are to run, and the router they find themselves on.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::lab::Lab;
use crate::network::RouterIndex;
use crate::router::menu::{Menu, SCRIPTS};
use crate::router::{Attributes, Refusal};
use crate::script::{self, Fetch, Globals, Host, Status, Value};
use crate::state::State;
use crate::version::duration;

/// Scripts that may wait on one router.
const WAITING_MAX: usize = 20_000;

/// Why a script runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// A netwatch entry changed its belief.
    Netwatch {
        /// Which.
        entry: u32,
        /// To what.
        status: Status,
    },
    /// A session began or ended.
    Session {
        /// Of which secret.
        secret: u32,
        /// Which.
        session: u32,
        /// With this address.
        address: IpAddr,
        /// The user name.
        name: Box<str>,
        /// Began or ended.
        status: Status,
    },
    /// A lease was given or taken back.
    Lease {
        /// Of this hardware address.
        mac: Box<str>,
        /// This address.
        address: IpAddr,
        /// By this server.
        server: Box<str>,
        /// Given or taken back.
        status: Status,
    },
    /// A task of the scheduler is due.
    Task {
        /// Which.
        task: u32,
    },
    /// Somebody runs a script.
    Script {
        /// Which.
        script: u32,
    },
}

impl State {
    /// Lets a script run as soon as the router comes to it.
    pub(crate) fn run_script(&mut self, router: RouterIndex, job: Job) {
        let this = self.router(router);
        if !this.is_powered {
            return;
        }
        if this.jobs.len() >= WAITING_MAX {
            this.counters.scripts_skipped += 1;
            return;
        }
        this.jobs.push_back(job);
        self.scripts_queued += 1;
    }

    /// Starts as many workers as there are scripts waiting and a router runs at once: how many for each.
    pub(crate) fn take_workers(&mut self) -> Vec<(RouterIndex, usize)> {
        let most = self.settings.scripts_at_once.max(1);
        let mut started = Vec::new();
        for (index, router) in self.routers.iter_mut().enumerate() {
            let count = router.jobs.len().min(most.saturating_sub(router.jobs_running));
            if count > 0 {
                router.jobs_running += count;
                started.push((RouterIndex(index as u32), count));
            }
        }
        started
    }

    /// The text of a script and the variables it finds.
    fn script_of(&self, router: RouterIndex, job: &Job) -> Option<(String, Vec<(&'static str, Value)>)> {
        let this = &self.routers[router.at()];
        match job {
            Job::Netwatch { entry, status } => {
                let text = self.netwatch_script(router, this.netwatch.get(entry)?, *status)?;
                let text = self.inline_or_named(router, text);
                let host = this.netwatch.get(entry)?.host.to_string();
                Some((text, vec![("host", host.as_str().into()), ("status", status.of_device().into())]))
            }
            Job::Session { secret, session, address, name, status } => {
                let text = self.session_script(router, *secret, *status)?;
                let variables = vec![
                    ("user", (&**name).into()),
                    ("local-address", "10.255.255.1".into()),
                    ("remote-address", address.to_string().as_str().into()),
                    ("caller-id", crate::ppp::caller_id(router, *secret).as_str().into()),
                    ("called-id", "lab".into()),
                    ("interface", format!("*{session:X}").as_str().into()),
                ];
                Some((text, variables))
            }
            Job::Lease { mac, address, server, status } => {
                let text = self.lease_script(router, server)?;
                let bound = match status {
                    Status::Up => "1",
                    Status::Down => "0",
                };
                let variables = vec![
                    ("leaseBound", bound.into()),
                    ("leaseServerName", (&**server).into()),
                    ("leaseActMAC", (&**mac).into()),
                    ("leaseActIP", address.to_string().as_str().into()),
                ];
                Some((text, variables))
            }
            Job::Task { task } => Some((self.task_text(router, *task)?, Vec::new())),
            Job::Script { script } => {
                let row = this.tables.get(SCRIPTS.path)?.get(*script)?;
                Some((row.get("source").unwrap_or_default().to_owned(), Vec::new()))
            }
        }
    }
}

/// Runs the scripts of one router until none waits.
pub(crate) async fn work(lab: Arc<Lab>, router: RouterIndex) {
    loop {
        let next = lab.with(|state| {
            let this = state.router(router);
            let power = this.power.clone();
            match this.jobs.pop_front() {
                Some(job) => {
                    if let Job::Task { task: id } | Job::Script { script: id } = job {
                        *this.runs.entry(id).or_default() += 1;
                    }
                    Some((state.script_of(router, &job), power))
                }
                None => {
                    this.jobs_running -= 1;
                    None
                }
            }
        });
        let Some((script, power)) = next else { return };
        let Some((text, variables)) = script else { continue };
        let ran = tokio::select! {
            biased;
            () = power.cancelled() => continue,
            () = lab.ended() => return,
            ran = run(&lab, router, &text, &variables) => ran,
        };
        lab.with(|state| {
            let counters = &mut state.router(router).counters;
            match ran {
                Ok(()) => counters.scripts_run += 1,
                Err(error) => {
                    counters.scripts_failed += 1;
                    tracing::debug!(router = router.0, %error, "a script failed");
                    state.log(router, "script,error", error.to_string());
                }
            }
        });
    }
}

async fn run(
    lab: &Arc<Lab>,
    router: RouterIndex,
    text: &str,
    variables: &[(&str, Value)],
) -> Result<(), script::ScriptError> {
    let script = script::parse(text)?;
    script::run(&script, variables, &mut OnRouter { lab, router }).await
}

struct OnRouter<'a> {
    lab: &'a Arc<Lab>,
    router: RouterIndex,
}

impl Host for OnRouter<'_> {
    fn with_globals<T>(&mut self, work: impl FnOnce(&mut Globals) -> T) -> T {
        self.lab.with(|state| work(&mut state.router(self.router).globals))
    }

    fn get(&mut self, menu: &str, item: Option<&str>, property: &str) -> Result<Value, String> {
        let got = self.lab.with(|state| {
            let now = state.clock.now();
            let (date, time) = state.date_and_time(self.router);
            let this = &state.routers[self.router.at()];
            match (menu, property) {
                ("/system resource", "uptime") => Some(duration(this.uptime(now))),
                ("/system resource", "version") => Some(this.version.text().to_owned()),
                ("/system clock", "date") => Some(date),
                ("/system clock", "time") => Some(time),
                ("/system identity", "name") => Some(this.identity.clone()),
                ("/system script", "source") => {
                    state.script_named(self.router, item?).map(|(_, source)| source)
                }
                ("/interface", property) => {
                    let rows = state.session_interface_rows(self.router);
                    let row = rows.iter().find(|row| row.get(".id") == item || row.get("name") == item)?;
                    row.get(property).map(str::to_owned)
                }
                _ => None,
            }
        });
        got.map(|text| Value::from(text.as_str())).ok_or_else(|| "no such item".to_owned())
    }

    fn set_source(&mut self, script: &str, source: &str) -> Result<(), String> {
        let to = Attributes::single("source", source);
        self.lab.with(|state| match state.script_named(self.router, script) {
            Some((id, _)) => SCRIPTS.set(state, self.router, id, &to).map_err(|refusal| refusal.message),
            // Nothing was found, so nothing is set: no error on a router either.
            None => Ok(()),
        })
    }

    async fn fetch(&mut self, fetch: Fetch) -> Result<(), String> {
        if !self.lab.with(|state| state.router(self.router).device_mode.allows_push()) {
            return Err(Refusal::not_in_device_mode().message);
        }
        self.lab.fetch(self.router, fetch, crate::lab::Way::Own).await
    }

    async fn delay(&mut self, time: Duration) {
        tokio::time::sleep(self.lab.real(time)).await;
    }

    fn log(&mut self, level: &str, message: &str) {
        let topics = match level {
            "info" => "script,info",
            "warning" => "script,warning",
            "error" => "script,error",
            _ => "script,debug",
        };
        self.lab.with(|state| state.log(self.router, topics, message.to_owned()));
    }
}
