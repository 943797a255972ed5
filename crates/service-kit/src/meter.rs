//! Metrics: where they are kept, histograms that cost the same however many values they have seen, and what is asked for
//! only when somebody scrapes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// The upper bounds of a histogram's buckets, in microseconds: half a millisecond to half a minute.
const BOUNDS: [u64; 15] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000,
];
const BUCKETS: usize = BOUNDS.len() + 1;

type Labels = Vec<(&'static str, String)>;
type Histograms = BTreeMap<(&'static str, Labels), Arc<Histogram>>;
type Hook = Box<dyn Fn() -> bool + Send + Sync>;

/// A number that one thread counts and any may read. Without anybody else who writes, counting waits for nobody: not for other
/// cores, and not for memory.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds to it. Of two threads that do so at once one may do it in vain.
    pub fn add(&self, more: u64) {
        self.0.store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    /// Takes away what was added.
    pub fn take(&self, less: u64) {
        self.add(less.wrapping_neg());
    }

    /// What it is at.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long what one thread sees to took, for a [`Histogram`]. What is needed most comes first.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Times {
    sum_micros: Count,
    buckets: [Count; BUCKETS],
}

impl Times {
    /// Adds one value.
    pub fn record(&self, took: Duration) {
        let (bucket, micros) = bucket(took);
        self.buckets[bucket].add(1);
        self.sum_micros.add(micros);
    }
}

/// How long things took.
#[derive(Debug, Default)]
pub struct Histogram {
    sum_micros: AtomicU64,
    /// How many values fell between each bound and the one before; the last: beyond all of them.
    buckets: [AtomicU64; BUCKETS],
}

impl Histogram {
    /// The histogram of this name and these labels: the same one for whoever asks for it. Ask once and keep it.
    pub fn of(name: &'static str, labels: &[(&'static str, &str)]) -> Arc<Self> {
        let labels = labels.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        let mut all = histograms().lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry((name, labels)).or_default())
    }

    /// Adds one value, from any thread.
    pub fn record(&self, took: Duration) {
        let (bucket, micros) = bucket(took);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Makes it say what `parts` have recorded, and nothing else.
    pub fn show<'a>(&self, parts: impl Iterator<Item = &'a Times> + Clone) {
        for (index, bucket) in self.buckets.iter().enumerate() {
            let count = parts.clone().map(|part| part.buckets[index].get()).sum();
            bucket.store(count, Ordering::Relaxed);
        }
        let sum = parts.map(|part| part.sum_micros.get()).sum();
        self.sum_micros.store(sum, Ordering::Relaxed);
    }

    fn render(&self, name: &str, labels: &Labels, text: &mut String) {
        let labels = labels.iter().fold(String::new(), |mut all, (key, value)| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(all, "{key}=\"{value}\",");
            all
        });
        let mut count = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            let bound = BOUNDS.get(index).map_or("+Inf".to_owned(), |micros| seconds(*micros));
            let _ = writeln!(text, "{name}_bucket{{{labels}le=\"{bound}\"}} {count}");
        }
        let labels = labels.trim_end_matches(',');
        let sum = seconds(self.sum_micros.load(Ordering::Relaxed));
        let _ = writeln!(text, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}");
    }

    fn is_empty(&self) -> bool {
        self.buckets.iter().all(|bucket| bucket.load(Ordering::Relaxed) == 0)
    }
}

/// The bucket of a value, and the value in microseconds.
fn bucket(took: Duration) -> (usize, u64) {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let bucket = BOUNDS.iter().position(|bound| micros <= *bound);
    (bucket.unwrap_or(BOUNDS.len()), micros)
}

/// Microseconds as a decimal number of seconds.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn histograms() -> &'static Mutex<Histograms> {
    static ALL: OnceLock<Mutex<Histograms>> = OnceLock::new();
    ALL.get_or_init(Mutex::default)
}

fn hooks() -> &'static Mutex<Vec<Hook>> {
    static ALL: OnceLock<Mutex<Vec<Hook>>> = OnceLock::new();
    ALL.get_or_init(Mutex::default)
}

/// Calls `hook` before metrics are shown, to set those that nobody keeps up to date; until it says `false`.
pub fn on_scrape(hook: impl Fn() -> bool + Send + Sync + 'static) {
    let mut all = hooks().lock().unwrap_or_else(PoisonError::into_inner);
    all.push(Box::new(hook));
}

/// Makes ready to count. What is registered before the first call counts nothing, so roles begin with it.
pub fn start() {
    handle();
}

fn handle() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let _ = metrics::set_global_recorder(recorder);
        handle
    })
}

/// Every metric as it is now, in Prometheus' text format.
#[must_use]
pub fn render() -> String {
    hooks()
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .retain(|hook| hook());
    let handle = handle();
    handle.run_upkeep();
    let mut text = handle.render();
    let mut last = "";
    for ((name, labels), histogram) in &*histograms().lock().unwrap_or_else(PoisonError::into_inner) {
        if histogram.is_empty() {
            continue;
        }
        if *name != last {
            let _ = writeln!(text, "# TYPE {name} histogram");
            last = name;
        }
        histogram.render(name, labels, &mut text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_says_how_many_values_were_no_larger_than_each_bound() {
        let histogram = Histogram::of("example_seconds", &[("route", "/a\"b")]);
        for micros in [0, 500, 501, 2_000_000, u64::MAX / 4] {
            histogram.record(Duration::from_micros(micros));
        }
        let text = render();
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("example_seconds")).collect();
        assert_eq!(lines[0], "# TYPE example_seconds histogram");
        assert_eq!(lines[1], r#"example_seconds_bucket{route="/a\"b",le="0.0005"} 2"#);
        assert_eq!(lines[2], r#"example_seconds_bucket{route="/a\"b",le="0.001"} 3"#);
        assert_eq!(lines[12], r#"example_seconds_bucket{route="/a\"b",le="2.5"} 4"#);
        assert_eq!(lines[16], r#"example_seconds_bucket{route="/a\"b",le="+Inf"} 5"#);
        assert!(lines[17].starts_with(r#"example_seconds_sum{route="/a\"b"} "#));
        assert_eq!(lines[18], r#"example_seconds_count{route="/a\"b"} 5"#);
    }

    #[test]
    fn who_asks_for_the_same_histogram_gets_the_same() {
        let ask = || Histogram::of("same_seconds", &[("role", "a")]);
        assert!(Arc::ptr_eq(&ask(), &ask()));
        assert!(!Arc::ptr_eq(&ask(), &Histogram::of("same_seconds", &[("role", "b")])));
        assert!(
            !render().contains("same_seconds"),
            "one that has seen nothing is not shown"
        );
    }

    #[test]
    fn a_hook_is_called_until_it_is_over() {
        let left = Arc::new(AtomicU64::new(2));
        let counted = Arc::clone(&left);
        on_scrape(move || {
            let before = counted.fetch_sub(1, Ordering::Relaxed);
            before > 1
        });
        // Other tests render too.
        for _ in 0..3 {
            let _ = render();
        }
        assert_eq!(left.load(Ordering::Relaxed), 0);
    }
}
