//! Whether a Redis keeps what it is given. One that throws keys away to make room, or forgets everything when it stops,
//! would bring revoked sessions back.

use std::time::Duration;

use redis::{Cmd, Value};
use service_kit::config::Mistake;

use super::line::Line;
use super::target::Target;

const KEY: &str = "token.store_url";

/// What was found out about a Redis.
#[derive(Debug, Default)]
pub struct Findings {
    /// With these the token service does not start.
    pub refusals: Vec<Mistake>,
    /// With these it does; an operator should know them.
    pub warnings: Vec<Mistake>,
}

/// Looks at the Redis that `url` names, every primary of it, and waits at most `timeout` for each answer.
///
/// # Errors
/// When it cannot be reached.
pub async fn examine(url: &str, timeout: Duration) -> anyhow::Result<Findings> {
    ask(&Line::new(Target::read(url)?, timeout)).await
}

pub(super) async fn ask(line: &Line) -> anyhow::Result<Findings> {
    // INFO before CONFIG: it tells the most important things, and managed Redises allow it.
    let Some(servers) = texts(line, Cmd::new().arg("INFO")).await? else {
        return Ok(Findings {
            refusals: Vec::new(),
            warnings: vec![Mistake::in_key(
                KEY,
                "Redis does not let this user ask for INFO, so whether it keeps what it is given is not known",
                "Allow it (ACL SETUSER … +info), or see for yourself: maxmemory-policy noeviction, appendonly yes, \
                 appendfsync always.",
            )],
        });
    };
    let mut findings = judge(&servers);
    let syncs = texts(line, Cmd::new().arg(&["CONFIG", "GET", "appendfsync"])).await?;
    if findings.warnings.is_empty() && syncs.unwrap_or_default().iter().any(|sync| sync != "always") {
        findings.warnings.push(Mistake::in_key(
            KEY,
            "names a Redis that answers before what it was given is in its append-only file: a crash loses up to two \
             seconds of logouts that were acknowledged, and their tokens are good again",
            "Set `appendfsync always` in its configuration (or CONFIG SET).",
        ));
    }
    Ok(findings)
}

/// What every server answers to `command`; `None` where this user may not ask.
async fn texts(line: &Line, command: &Cmd) -> anyhow::Result<Option<Vec<String>>> {
    match line.send_to_all(command).await {
        Ok(answer) => {
            let mut texts = Vec::new();
            collect(&answer, &mut texts);
            Ok(Some(texts))
        }
        Err(error) if refused(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the server understood and said no.
fn refused(error: &anyhow::Error) -> bool {
    let said = error.downcast_ref::<redis::RedisError>();
    said.is_some_and(|error| matches!(error.kind(), redis::ErrorKind::Server(_)) || error.code() == Some("NOPERM"))
}

/// The texts in an answer: one, or in a cluster one of each server; of settings, their values.
fn collect(answer: &Value, texts: &mut Vec<String>) {
    match answer {
        Value::BulkString(text) => texts.push(String::from_utf8_lossy(text).into_owned()),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => texts.push(text.clone()),
        Value::Map(servers) => servers.iter().for_each(|(_, answer)| collect(answer, texts)),
        Value::Array(answers) => answers.iter().for_each(|answer| collect(answer, texts)),
        _ => {}
    }
}

fn judge(servers: &[String]) -> Findings {
    let mut findings = Findings::default();
    let values = |name: &str| -> Vec<&str> {
        servers
            .iter()
            .map(|server| {
                server
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                    .map_or("", str::trim)
            })
            .collect()
    };
    for policy in values("maxmemory_policy") {
        match policy {
            "noeviction" => {}
            "" => findings.warnings.push(Mistake::in_key(
                KEY,
                "Redis does not say what it does when its memory is full",
                "See to it that maxmemory-policy is noeviction.",
            )),
            policy => findings.refusals.push(Mistake::in_key(
                KEY,
                format!("names a Redis that throws keys away when its memory is full (maxmemory-policy {policy})"),
                "Set `maxmemory-policy noeviction` in its configuration (or CONFIG SET): what it throws away could be a \
                 revocation, and the revoked token would be good again.",
            )),
        }
    }
    if values("aof_enabled").iter().any(|enabled| *enabled != "1") {
        findings.warnings.push(Mistake::in_key(
            KEY,
            "names a Redis without an append-only file: when it stops, the sessions and revocations since its last \
             snapshot are lost, if it has one",
            "Set `appendonly yes` in its configuration (or CONFIG SET).",
        ));
    }
    findings
}
