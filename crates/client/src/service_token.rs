//! The one service token of a process: got when it is first wanted, renewed before it expires, by one caller for all.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use service_kit::clock;

use crate::TokenServiceError;

/// How long those who ask after a failure to get a token share that failure, instead of waiting for their own.
const FAILED: Duration = Duration::from_millis(500);
/// After this part of its life a token is renewed.
const RENEWED_AFTER: f64 = 0.8;

#[derive(Debug)]
struct Held {
    token: Arc<str>,
    renew_at: Instant,
    expires_at: Instant,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    /// What the token service could not be asked for, and until when that is not tried again.
    failed: Option<(String, Instant)>,
}

/// What there is for somebody who asks.
enum Found {
    /// A token that is good for a while yet.
    Fresh(Arc<str>),
    /// One that still works, and should be renewed.
    Due(Arc<str>),
    Nothing,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ServiceToken {
    state: Mutex<State>,
    fetching: tokio::sync::Mutex<()>,
}

impl ServiceToken {
    /// The token held, or a new one when there is none, it is about to expire, or it is `refused`. One caller fetches;
    /// others wait for what comes of it only where there is no token that still works. `fetch` gives a token and how long
    /// it lasts.
    pub(crate) async fn get(
        &self,
        refused: Option<&str>,
        fetch: impl AsyncFnOnce() -> Result<(Arc<str>, Duration), TokenServiceError>,
    ) -> Result<Arc<str>, TokenServiceError> {
        let works = match self.find(refused, clock::instant()) {
            Found::Fresh(token) => return Ok(token),
            Found::Due(token) => Some(token),
            Found::Nothing => None,
        };
        let _fetching = match (self.fetching.try_lock(), works.clone()) {
            (Ok(fetching), _) => fetching,
            (Err(_), Some(works)) => return Ok(works),
            (Err(_), None) => self.fetching.lock().await,
        };
        // Another one may have come back meanwhile.
        let asked = clock::instant();
        if let Found::Fresh(token) = self.find(refused, asked) {
            return Ok(token);
        }
        if let Some(why) = self.failure(asked) {
            return works.ok_or(TokenServiceError::Unavailable(why));
        }
        match fetch().await {
            Ok((token, lasts)) => {
                self.hold(&token, lasts, asked);
                Ok(token)
            }
            Err(error) => {
                self.note(&error, clock::instant());
                match (error, works) {
                    // It is tried again in a moment, and until it expires nobody need know.
                    (TokenServiceError::Unavailable(why), Some(works)) => {
                        log::warn!(cause = why.as_str(); "the service token could not be renewed yet");
                        Ok(works)
                    }
                    (error, _) => Err(error),
                }
            }
        }
    }

    fn find(&self, refused: Option<&str>, now: Instant) -> Found {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &state.held {
            Some(held) if refused == Some(&*held.token) || held.expires_at <= now => Found::Nothing,
            Some(held) if held.renew_at <= now => Found::Due(Arc::clone(&held.token)),
            Some(held) => Found::Fresh(Arc::clone(&held.token)),
            None => Found::Nothing,
        }
    }

    fn failure(&self, now: Instant) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (why, until) = state.failed.as_ref()?;
        (*until > now).then(|| why.clone())
    }

    fn hold(&self, token: &Arc<str>, lasts: Duration, asked: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failed = None;
        state.held = Some(Held {
            token: Arc::clone(token),
            renew_at: asked + lasts.mul_f64(RENEWED_AFTER),
            expires_at: asked + lasts,
        });
    }

    fn note(&self, error: &TokenServiceError, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failed = match error {
            TokenServiceError::Unavailable(why) => Some((why.clone(), now + FAILED)),
            _ => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn unavailable() -> TokenServiceError {
        TokenServiceError::Unavailable("no".to_owned())
    }

    /// One that holds `name`, which is due to be renewed.
    fn due(name: &str) -> ServiceToken {
        let token = ServiceToken::default();
        token.hold(
            &name.into(),
            HOUR,
            clock::instant().checked_sub(HOUR.mul_f64(0.9)).unwrap(),
        );
        token
    }

    #[tokio::test]
    async fn many_who_want_a_token_at_once_cause_one_fetch() {
        let (token, fetches) = (ServiceToken::default(), AtomicUsize::new(0));
        let fetch = async || {
            fetches.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok(("new".into(), HOUR))
        };
        let all = join_all((0..100).map(|_| token.get(None, fetch))).await;
        assert!(all.into_iter().all(|got| &*got.unwrap() == "new"));
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_token_that_still_works_is_renewed_by_one_and_nobody_waits() {
        let (token, go_on, fetches) = (due("old"), Notify::new(), AtomicUsize::new(0));
        let fetch = async || {
            fetches.fetch_add(1, Ordering::SeqCst);
            go_on.notified().await;
            Ok(("new".into(), HOUR))
        };
        let renewing = token.get(None, fetch);
        let others = async {
            for _ in 0..100 {
                assert_eq!(&*token.get(None, fetch).await.unwrap(), "old");
            }
            go_on.notify_one();
        };
        let (renewed, ()) = tokio::join!(renewing, others);
        assert_eq!(&*renewed.unwrap(), "new");
        assert_eq!(&*token.get(None, fetch).await.unwrap(), "new");
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_renewal_that_fails_costs_nothing_while_the_token_still_works() {
        let (token, fetches) = (due("old"), AtomicUsize::new(0));
        let fetch = async || {
            fetches.fetch_add(1, Ordering::SeqCst);
            Err(unavailable())
        };
        for _ in 0..100 {
            assert_eq!(&*token.get(None, fetch).await.unwrap(), "old");
        }
        // (More than one only where half a second has passed since.)
        assert!(fetches.load(Ordering::SeqCst) < 100, "a failure is shared for a moment");
        // One that is refused does not work any more, whatever it says of itself.
        assert!(token.get(Some("old"), fetch).await.is_err());
    }

    #[tokio::test]
    async fn a_token_that_has_expired_is_not_used_for_want_of_another() {
        let token = ServiceToken::default();
        token.hold(&"old".into(), HOUR, clock::instant().checked_sub(HOUR).unwrap());
        let got = token.get(None, async || Err(unavailable())).await;
        assert!(matches!(got, Err(TokenServiceError::Unavailable(_))));
    }

    #[tokio::test]
    async fn a_refused_token_is_replaced_once_for_all_who_were_refused_with_it() {
        let (token, fetches) = (ServiceToken::default(), AtomicUsize::new(0));
        token.hold(&"old".into(), HOUR, clock::instant());
        let fetch = async || {
            fetches.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok(("new".into(), HOUR))
        };
        let all = join_all((0..100).map(|_| token.get(Some("old"), fetch))).await;
        assert!(all.into_iter().all(|got| &*got.unwrap() == "new"));
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
    }
}
