//! Asking targets whether they are well, so that no request has to find out.

use std::future::poll_fn;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use actix_web::http::{Method, StatusCode};
use service_kit::random;

use super::Upstream;
use super::http1::{BadTarget, Broken, Connection};
use super::target::Target;
use crate::config::HealthCheck;
use crate::http1::Nothing;

/// What checks found out about a target; good until then.
#[derive(Debug, Default)]
pub(super) struct Health {
    bad: AtomicBool,
    /// How many checks in a row said the opposite.
    doubts: AtomicU32,
}

impl Health {
    /// Goes on from where `before` is.
    pub(super) fn take_over(&self, before: &Self) {
        self.bad.store(before.is_bad(), Ordering::Relaxed);
        self.doubts
            .store(before.doubts.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(super) fn is_bad(&self) -> bool {
        self.bad.load(Ordering::Relaxed)
    }

    /// Takes note of a check; so many in a row make it good or bad. Tells whether this one did.
    pub(super) fn checked(&self, good: bool, healthy_after: u32, unhealthy_after: u32) -> bool {
        if good != self.is_bad() {
            self.doubts.store(0, Ordering::Relaxed);
            return false;
        }
        let doubts = self.doubts.load(Ordering::Relaxed).saturating_add(1);
        let turns = doubts >= if good { healthy_after } else { unhealthy_after };
        if turns {
            self.bad.store(!good, Ordering::Relaxed);
        }
        self.doubts.store(if turns { 0 } else { doubts }, Ordering::Relaxed);
        turns
    }
}

/// What a check found wrong.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("it cannot be connected to: {0}")]
    Connect(#[from] std::io::Error),
    #[error("it does not speak HTTP: {0}")]
    Http(#[from] Broken),
    #[error("it cannot be asked: {0}")]
    Unwritable(#[from] BadTarget),
    #[error("it says {0}")]
    Status(StatusCode),
    #[error("it did not answer in time")]
    Timeout,
}

/// Checks `target` until it or its upstream is gone.
pub(super) async fn watch(upstream: Weak<Upstream>, target: Weak<Target>) {
    loop {
        let pause = {
            let (Some(upstream), Some(target)) = (Upstream::alive(&upstream), target.upgrade()) else {
                return;
            };
            let Some(check) = &upstream.config.health else { return };
            if target.gone.load(Ordering::Relaxed) {
                return;
            }
            let found = tokio::time::timeout(check.timeout, ask(&target, check)).await;
            take_note(&upstream, &target, check, found.unwrap_or(Err(Wrong::Timeout)));
            check.interval
        };
        tokio::time::sleep(jittered(pause)).await;
    }
}

fn take_note(upstream: &Upstream, target: &Target, check: &HealthCheck, found: Result<(), Wrong>) {
    let turned = target
        .health
        .checked(found.is_ok(), check.healthy_after, check.unhealthy_after);
    match (turned, found) {
        (true, Ok(())) => {
            target.breaker.succeeded();
            log::info!(upstream = upstream.name.as_str(), address:% = target.address; "a target of an upstream is well again");
        }
        (true, Err(wrong)) => {
            log::warn!(upstream = upstream.name.as_str(), address:% = target.address, cause:% = wrong; "a target of an upstream is not well");
        }
        (false, _) => {}
    }
}

/// One check, over a connection of its own.
async fn ask(target: &Target, check: &HealthCheck) -> Result<(), Wrong> {
    let mut connection = Connection::open(target.address).await?;
    let mut head = connection.head();
    head.begin(&Method::GET, &[&target.base, &check.path])?;
    head.field("host", &target.host);
    head.say("user-agent", "portcullis-health");
    head.say("connection", "close");
    connection.send(&Method::GET, Nothing);
    let status = poll_fn(|cx| connection.poll_head(cx)).await?.status;
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(Wrong::Status(status))
    }
}

/// `pause`, up to a fifth longer or shorter, so that gateways do not ask all at once.
pub(super) fn jittered(pause: Duration) -> Duration {
    let [chance] = random::bytes::<1>();
    pause.mul_f64(0.8 + 0.4 * f64::from(chance) / 255.0)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use url::Url;

    use super::super::target::Site;
    use super::*;

    /// What is asked, and what is found when it is answered with `answer`.
    async fn found(answer: &str) -> (String, Result<(), Wrong>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let site = Site::new(&Url::parse(&format!("http://{address}/base/")).unwrap()).unwrap();
        let target = Target::new(address, 0, &site);
        let check = serde_json::from_str(r#"{"path": "/well?really=1"}"#).unwrap();
        let service = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 1000];
            let read = stream.read(&mut head).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(head[..read].to_vec())
                .unwrap()
                .replace(&address.to_string(), "HOST")
        };
        tokio::join!(service, ask(&target, &check))
    }

    #[tokio::test]
    async fn a_check_asks_below_the_base_and_takes_2xx_and_3xx_for_well() {
        for status in [200, 204, 302, 399] {
            let (asked, found) = found(&format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")).await;
            assert!(found.is_ok(), "{found:?}");
            assert_eq!(
                asked,
                "GET /base/well?really=1 HTTP/1.1\r\nhost: HOST\r\nuser-agent: portcullis-health\r\nconnection: close\r\n\r\n"
            );
        }
        for status in [400, 404, 500, 503] {
            let (_, found) = found(&format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")).await;
            assert!(
                matches!(found, Err(Wrong::Status(found)) if found == status),
                "{found:?}"
            );
        }
        for answer in ["", "hello\r\n\r\n", "HTTP/1.1 200"] {
            assert!(matches!(found(answer).await.1, Err(Wrong::Http(_))), "{answer:?}");
        }
    }

    #[test]
    fn so_many_checks_in_a_row_turn_it_and_one_in_between_begins_anew() {
        let health = Health::default();
        let check = |good| health.checked(good, 2, 3);
        assert!(!check(false) && !check(false) && !check(true) && !check(false) && !check(false));
        assert!(!health.is_bad());
        assert!(check(false) && health.is_bad());
        assert!(!check(false) && !check(true) && !check(false) && !check(true));
        assert!(health.is_bad());
        assert!(check(true) && !health.is_bad());
    }

    #[test]
    fn pauses_differ_by_a_fifth_at_most() {
        let pauses: Vec<_> = (0..100).map(|_| jittered(Duration::from_secs(10))).collect();
        assert!(pauses.iter().all(|pause| (8.0..=12.0).contains(&pause.as_secs_f64())));
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }
}
