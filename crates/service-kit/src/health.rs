//! Whether a role can do its work: what `/readyz` asks.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

type Check = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// The dependencies of a role, each with a check that says what is wrong.
#[derive(Clone, Default)]
pub struct Readiness(Vec<(&'static str, Check)>);

impl Readiness {
    /// Adds a dependency. `check` is called at each `/readyz` and says in a sentence what is wrong, with no secret in it.
    #[must_use]
    pub fn with<F, Fut>(mut self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.0.push((name, Arc::new(move || Box::pin(check()))));
        self
    }

    /// Every dependency that is not reachable now, with what is wrong; empty means ready.
    pub async fn failures(&self) -> Vec<(&'static str, String)> {
        let mut failures = Vec::new();
        for (name, check) in &self.0 {
            if let Err(reason) = check().await {
                failures.push((*name, reason));
            }
        }
        failures
    }
}
