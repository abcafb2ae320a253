//! `mastwatch doctor`: whether everything needed is there and works.

use crate::{api::Server, show};
use embedded::Programs;
use serde::Serialize;
use std::process::ExitCode;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    good: bool,
    says: String,
}

/// Looks at programs, console and token. The exit code is 1 when something is missing.
///
/// # Errors
///
/// Never: what is wrong is a finding.
pub async fn run(server: &Server, json: bool) -> anyhow::Result<ExitCode> {
    let programs = Programs::find(&server.data);
    let mut found = vec![
        program("nats-server", programs.nats_server().map(|p| shown(&p))),
        program(
            "Postgres",
            programs.postgres().map(|p| format!("{} at {}", p.version, p.postgres.display())),
        ),
        program("VictoriaMetrics", programs.victoria_metrics().map(|p| shown(&p))),
    ];
    found.push(match server.api() {
        Err(error) => Finding { what: "token", good: false, says: format!("{error:#}") },
        Ok(api) => match api.get("/api/v1/tenants").await {
            Ok(tenants) => {
                let n = tenants.as_array().map_or(0, Vec::len);
                Finding { what: "console", good: true, says: format!("answers; {n} tenants") }
            }
            Err(error) => Finding { what: "console", good: false, says: format!("{error:#}") },
        },
    });
    let good = found.iter().all(|f| f.good);
    for finding in &found {
        if json {
            show::json(finding);
        } else {
            show::line(format!(
                "{}  {:<16} {}",
                if finding.good { "ok  " } else { "FAIL" },
                finding.what,
                finding.says
            ));
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn shown(program: &embedded::Program) -> String {
    let version =
        program.version.as_ref().map(ToString::to_string).unwrap_or_else(|| "of unknown version".into());
    format!("{version} at {}", program.path.display())
}

fn program<E: std::error::Error>(what: &'static str, found: Result<String, E>) -> Finding {
    match found {
        Ok(says) => Finding { what, good: true, says },
        Err(error) => Finding { what, good: false, says: error.to_string() },
    }
}
