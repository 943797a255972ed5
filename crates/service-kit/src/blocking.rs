//! Work that blocks (SQL, password hashing, files) runs here, never on an async worker, and never without a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bounded pool: so many pieces of work at once, so many waiting, and the next is turned away.
#[derive(Clone, Debug)]
pub struct BlockingPool {
    name: &'static str,
    permits: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    queue: usize,
}

/// Why a piece of work did not run.
#[derive(Debug, thiserror::Error)]
pub enum BlockingError {
    /// The pool and its queue are full; nothing was started.
    #[error("the {0} queue is full")]
    Full(&'static str),
    /// The work panicked; its effects are whatever its transaction left.
    #[error("work on the {0} pool panicked")]
    Panicked(&'static str),
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl BlockingPool {
    /// A pool that runs `permits` pieces of work at once and lets `queue` more wait.
    #[must_use]
    pub fn new(name: &'static str, permits: usize, queue: usize) -> Self {
        Self {
            name,
            permits: Arc::new(Semaphore::new(permits.max(1))),
            waiting: Arc::default(),
            queue,
        }
    }

    /// Runs `work` on a thread that may block and gives what it returned. Whoever stops waiting before the work began
    /// cancels it; work that has begun runs to its end and keeps its permit until then.
    ///
    /// # Errors
    /// [`BlockingError::Full`] at once when the queue is full; [`BlockingError::Panicked`] when `work` did.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that blocks")]
    pub async fn run<T, F>(&self, work: F) -> Result<T, BlockingError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let permit = if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            permit
        } else {
            self.wait_for_permit().await?
        };
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        })
        .await
        .map_err(|_| BlockingError::Panicked(self.name))
    }

    async fn wait_for_permit(&self) -> Result<OwnedSemaphorePermit, BlockingError> {
        let already = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.waiting);
        if already >= self.queue {
            metrics::counter!("blocking_pool_refused_total", "pool" => self.name).increment(1);
            return Err(BlockingError::Full(self.name));
        }
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        permit.map_err(|_| BlockingError::Full(self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_beyond_the_queue_is_turned_away_and_the_rest_runs() {
        let pool = BlockingPool::new("test", 1, 1);
        let (release, hold) = std::sync::mpsc::channel::<()>();
        let running = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(move || hold.recv().is_ok()).await }
        });
        while pool.permits.available_permits() == 1 {
            tokio::task::yield_now().await;
        }
        let waiting = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(|| 7).await }
        });
        while pool.waiting.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(pool.run(|| 8).await, Err(BlockingError::Full("test"))));
        release.send(()).unwrap();
        assert!(running.await.unwrap().unwrap());
        assert_eq!(waiting.await.unwrap().unwrap(), 7);
    }

    #[tokio::test]
    async fn work_that_panics_gives_its_permit_back() {
        let pool = BlockingPool::new("test", 1, 0);
        assert!(matches!(
            pool.run(|| panic!("on purpose")).await,
            Err(BlockingError::Panicked("test"))
        ));
        assert_eq!(pool.run(|| 1).await.unwrap(), 1);
    }
}
