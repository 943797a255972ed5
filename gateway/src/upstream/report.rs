//! What the metrics say about an upstream, brought up to date once a second and never by a request.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Upstream;

const EVERY: Duration = Duration::from_secs(1);

/// Reports on `upstream` until nobody has it any more.
pub(super) async fn report(upstream: Weak<Upstream>) {
    let mut last = None;
    while let Some(upstream) = Upstream::alive(&upstream) {
        let state = State::of(&upstream);
        state.show();
        last = Some(state);
        drop(upstream);
        tokio::time::sleep(EVERY).await;
    }
    if let Some(state) = last {
        let upstream = upstream.upgrade();
        state.bow_out(
            upstream
                .as_ref()
                .and_then(|upstream| upstream.retired.get()?.as_deref()),
        );
    }
}

struct State {
    upstream: String,
    /// Each configured target, and how much of it is well: a name may have several addresses. Not a number: it is gone.
    healthy: Vec<(String, f64)>,
    open: f64,
    connections: usize,
    in_flight: usize,
}

impl State {
    fn of(upstream: &Upstream) -> Self {
        let now = upstream.now();
        let roster = upstream.roster.borrow();
        let healthy = upstream.sites.iter().enumerate().map(|(index, site)| {
            let mine = roster.targets.iter().filter(|target| target.site == index);
            let (all, well) = mine.fold((0_u32, 0_u32), |(all, well), target| {
                (all + 1, well + u32::from(target.is_in(now)))
            });
            (site.label.clone(), f64::from(well) / f64::from(all.max(1)))
        });
        let sum = |counter: fn(&super::Target) -> usize| roster.targets.iter().map(|target| counter(target)).sum();
        Self {
            upstream: upstream.name.clone(),
            healthy: healthy.collect(),
            open: f64::from(u8::from(!upstream.breaker.is_closed())),
            connections: sum(|target| target.connections.load(Ordering::Relaxed)),
            in_flight: sum(|target| target.in_flight.load(Ordering::Relaxed)),
        }
    }

    /// The last word on an upstream that is no more, except about what its successor, with these targets, speaks for.
    fn bow_out(mut self, successor: Option<&[String]>) {
        self.healthy
            .retain(|(label, _)| !successor.is_some_and(|labels| labels.contains(label)));
        self.healthy.iter_mut().for_each(|(_, healthy)| *healthy = f64::NAN);
        self.show_targets();
        if successor.is_none() {
            (self.open, self.connections, self.in_flight) = (0.0, 0, 0);
            self.show_sums();
        }
    }

    fn show(&self) {
        self.show_targets();
        self.show_sums();
    }

    fn show_targets(&self) {
        for (target, healthy) in &self.healthy {
            metrics::gauge!("upstream_healthy", "upstream" => self.upstream.clone(), "target" => target.clone())
                .set(*healthy);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "nobody has so many connections")]
    fn show_sums(&self) {
        let gauge =
            |name: &'static str, value: f64| metrics::gauge!(name, "upstream" => self.upstream.clone()).set(value);
        gauge("upstream_breaker_open", self.open);
        gauge("upstream_in_flight", self.in_flight as f64);
        gauge("upstream_connections_open", self.connections as f64);
        // Each request in flight has one, or is about to.
        gauge(
            "upstream_connections_idle",
            self.connections.saturating_sub(self.in_flight) as f64,
        );
    }
}
