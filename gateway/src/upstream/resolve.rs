//! Keeping up with the addresses that names lead to, with each by itself: a slow name holds up no other.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::Upstream;
use super::health::jittered;

/// How long after it was looked up a name is looked up again.
const EVERY: Duration = Duration::from_secs(5);
/// And after it could not be.
const AGAIN: Duration = Duration::from_secs(1);

type LookUp = dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync;

/// Where names are looked up, and how often.
pub(super) struct Resolver {
    look_up: Box<LookUp>,
    every: Duration,
    again: Duration,
}

impl Resolver {
    /// The system's, which blocks threads of its own.
    pub(super) fn system() -> Self {
        let look_up = |name: String, port| -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
            Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
        };
        Self {
            look_up: Box::new(look_up),
            every: EVERY,
            again: AGAIN,
        }
    }

    /// The addresses of `name`, in an order of their own: at least one. It is the system that gives up (resolv.conf(5)): a first
    /// name server that is silent costs it five seconds each time, and whoever did not wait for the second would know nothing.
    async fn addresses(&self, name: String, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut addresses = (self.look_up)(name, port).await?;
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
        }
        Ok(addresses)
    }
}

/// Looks up the name of the site of `upstream` at `place` from time to time until nobody has the upstream any more. While it
/// cannot be looked up, its last addresses stay.
pub(super) async fn keep_up(upstream: Weak<Upstream>, place: usize, resolver: Arc<Resolver>) {
    let mut failing = false;
    loop {
        let Some(strong) = Upstream::alive(&upstream) else {
            return;
        };
        let Some((name, port)) = strong.sites[place].name() else {
            return;
        };
        let looking = resolver.addresses(name.to_owned(), port);
        // For as long as that takes.
        drop(strong);
        let found = looking.await;
        let Some(strong) = Upstream::alive(&upstream) else {
            return;
        };
        let (name, target) = (strong.name.as_str(), strong.sites[place].label.as_str());
        match &found {
            Err(error) if !failing => {
                log::warn!(upstream = name, target, cause:% = error; "the name of a target cannot be looked up");
            }
            Ok(_) if failing => log::info!(upstream = name, target; "the name of a target can be looked up again"),
            _ => {}
        }
        failing = found.is_err();
        strong.enlist(place, found.ok().as_deref(), None);
        drop(strong);
        let pause = if failing { resolver.again } else { resolver.every };
        tokio::time::sleep(jittered(pause)).await;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use url::Url;

    use super::super::Pool;
    use super::super::target::Target;
    use super::*;
    use crate::config;

    /// What a name leads to, for tests to change.
    #[derive(Clone, Default)]
    pub(in super::super) struct Names(Arc<Known>);

    #[derive(Default)]
    struct Known {
        addresses: Mutex<Option<Vec<SocketAddr>>>,
        asked: AtomicUsize,
    }

    impl Names {
        pub(in super::super) fn lead_to(&self, addresses: &[SocketAddr]) {
            *self.0.addresses.lock().unwrap() = Some(addresses.to_vec());
        }

        pub(in super::super) fn fail(&self) {
            *self.0.addresses.lock().unwrap() = None;
        }

        /// Waits until it was looked up anew.
        async fn looked_up(&self) {
            let before = self.0.asked.load(Ordering::SeqCst);
            // One may have been under way, and what is found is taken over before the next one begins.
            while self.0.asked.load(Ordering::SeqCst) < before + 3 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }

        /// An upstream whose one target is a name that leads there.
        pub(in super::super) fn upstream(&self) -> Arc<Upstream> {
            self.upstream_after(None)
        }

        /// The same, in the place of the one `before`.
        fn upstream_after(&self, before: Option<&Upstream>) -> Arc<Upstream> {
            let names = Arc::clone(&self.0);
            let look_up = move |name: String, port| -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
                assert_eq!((name.as_str(), port), ("moving.test", 80));
                let found = names.addresses.lock().unwrap().clone();
                names.asked.fetch_add(1, Ordering::SeqCst);
                Box::pin(async move { found.ok_or_else(|| io::Error::other("nobody knows")) })
            };
            upstream(&["http://moving.test"], before, Box::new(look_up))
        }
    }

    /// The upstream of these targets, whose names `look_up` finds.
    fn upstream(targets: &[&str], before: Option<&Upstream>, look_up: Box<LookUp>) -> Arc<Upstream> {
        let resolver = Resolver {
            look_up,
            every: Duration::from_millis(5),
            again: Duration::from_millis(5),
        };
        let targets = targets.iter().map(|target| Url::parse(target).unwrap()).collect();
        Upstream::start_with("moving", &config::Upstream::of(targets), before, resolver).unwrap()
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    async fn become_(upstream: &Upstream, addresses: &[SocketAddr]) -> Vec<Arc<Target>> {
        let mut roster = upstream.roster.subscribe();
        let so = |roster: &super::super::Roster| {
            roster.is_complete()
                && roster
                    .targets
                    .iter()
                    .map(|target| target.address)
                    .eq(addresses.iter().copied())
        };
        let waiting = tokio::time::timeout(Duration::from_secs(20), roster.wait_for(so));
        waiting.await.expect("it becomes so").unwrap().targets.clone()
    }

    #[tokio::test]
    async fn each_address_of_a_name_is_a_target_that_stays_itself_while_it_is_there() {
        let (one, two, three) = (address("127.0.0.1:80"), address("127.0.0.2:80"), address("[::1]:80"));
        let names = Names::default();
        names.lead_to(&[two, one, two]);
        let upstream = names.upstream();
        let before = become_(&upstream, &[one, two]).await;
        before[1].breaker.failed_for_good(0);
        names.lead_to(&[three, two]);
        let after = become_(&upstream, &[two, three]).await;
        assert!(
            Arc::ptr_eq(&before[1], &after[0]),
            "what is known about it is not forgotten"
        );
        assert!(before[0].gone.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn an_upstream_that_takes_the_place_of_another_goes_on_with_its_addresses() {
        let (one, two) = (address("127.0.0.1:80"), address("127.0.0.2:80"));
        let names = Names::default();
        names.lead_to(&[one, two]);
        let before = names.upstream();
        let targets = become_(&before, &[one, two]).await;
        targets[1].breaker.failed_for_good(before.now());
        names.fail();
        let after = names.upstream_after(Some(&before));
        let targets = after.roster.borrow().targets.clone();
        assert_eq!(
            targets.iter().map(|target| target.address).collect::<Vec<_>>(),
            [one, two]
        );
        assert_eq!([0, 1].map(|place| targets[place].is_in(after.now())), [true, false]);
        names.lead_to(&[two]);
        become_(&after, &[two]).await;
    }

    #[tokio::test]
    async fn the_last_addresses_stay_while_a_name_cannot_be_looked_up_or_has_none() {
        let (one, two) = (address("127.0.0.1:80"), address("127.0.0.2:80"));
        let names = Names::default();
        let upstream = names.upstream();
        become_(&upstream, &[]).await;
        names.lead_to(&[one]);
        become_(&upstream, &[one]).await;
        let mut roster = upstream.roster.subscribe();
        roster.mark_unchanged();
        names.fail();
        names.looked_up().await;
        names.lead_to(&[]);
        names.looked_up().await;
        assert!(!roster.has_changed().unwrap());
        names.lead_to(&[two]);
        become_(&upstream, &[two]).await;
    }

    #[tokio::test]
    async fn a_slow_name_holds_up_no_other_and_its_answer_is_taken_whenever_it_comes() {
        let (quick, slow) = (address("127.0.0.1:80"), address("127.0.0.2:80"));
        let asked = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let may_answer = Arc::new(tokio::sync::Semaphore::new(0));
        let (counted, answer) = (Arc::clone(&asked), Arc::clone(&may_answer));
        let look_up = move |name: String, _| -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
            let is_slow = name == "slow.test";
            counted[usize::from(is_slow)].fetch_add(1, Ordering::SeqCst);
            let answer = Arc::clone(&answer);
            Box::pin(async move {
                if !is_slow {
                    return Ok(vec![quick]);
                }
                let _permit = answer.acquire().await.unwrap();
                Ok(vec![slow])
            })
        };
        let targets = ["http://slow.test", "http://quick.test"];
        let upstream = upstream(&targets, None, Box::new(look_up));
        let pool = Pool::new(Arc::clone(&upstream), Duration::from_hours(1), Duration::from_secs(1));
        let entering = tokio::time::timeout(Duration::from_secs(20), pool.enter());
        let slots = entering.await.expect("nobody waits for the slow one").unwrap();
        assert_eq!(slots.len(), 1);
        let again = async {
            while asked[0].load(Ordering::SeqCst) < 3 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), again)
            .await
            .expect("the quick one is looked up again");
        assert_eq!(asked[1].load(Ordering::SeqCst), 1, "of look-ups that wait there is one");
        may_answer.add_permits(1);
        become_(&upstream, &[slow, quick]).await;
    }

    #[tokio::test]
    async fn a_name_with_very_many_addresses_fills_the_upstream_and_no_more() {
        let names = Names::default();
        let all: Vec<_> = (0..200).map(|last| SocketAddr::from(([127, 0, 0, last], 80))).collect();
        names.lead_to(&all);
        become_(&names.upstream(), &all[..super::super::MAX_TARGETS]).await;
    }

    #[tokio::test]
    async fn nobody_looks_up_the_names_of_an_upstream_that_is_no_more() {
        let names = Names::default();
        let upstream = names.upstream();
        become_(&upstream, &[]).await;
        drop(upstream);
        let alone = async {
            while Arc::strong_count(&names.0) > 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), alone)
            .await
            .expect("its task ends");
    }
}
