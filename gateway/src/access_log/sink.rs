//! Where the lines of all workers come together, and are written from by a thread of its own: a request pays neither for a
//! system call nor for a reader that is slow.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use metrics::Counter;

/// The most that waits to be written, in bytes. What comes beyond it is dropped, and counted.
const MOST: usize = 4 * 1024 * 1024;
/// From how much on it is written at once.
const ENOUGH: usize = 64 * 1024;
/// How long a line waits for others at most.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the last lines may take when the gateway stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// A bounded buffer of lines, and the thread that empties it.
#[derive(Debug)]
pub(crate) struct Sink {
    waiting: Mutex<Waiting>,
    /// For the thread: there is something, there is enough, or it is over.
    wake: Condvar,
    /// For whoever waits until everything is written.
    written: Condvar,
    dropped: Counter,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// How many lines those are.
    count: u64,
    is_writing: bool,
    is_over: bool,
}

impl Sink {
    /// Begins to write to `out`.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(out: Box<dyn Write + Send>) -> anyhow::Result<Arc<Self>> {
        let sink = Arc::new(Self {
            waiting: Mutex::default(),
            wake: Condvar::new(),
            written: Condvar::new(),
            dropped: metrics::counter!("access_log_dropped_total"),
        });
        let writer = Arc::clone(&sink);
        thread::Builder::new()
            .name("access log".to_owned())
            .spawn(move || writer.write(out))
            .context("while starting the thread that writes the access log")?;
        Ok(sink)
    }

    /// Takes a line, unless there are too many.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        let before = waiting.lines.len();
        if before + line.len() > MOST {
            drop(waiting);
            self.dropped.increment(1);
            return;
        }
        waiting.lines.extend_from_slice(line);
        waiting.count += 1;
        let now = waiting.lines.len();
        drop(waiting);
        if before == 0 || (before < ENOUGH && now >= ENOUGH) {
            self.wake.notify_one();
        }
    }

    /// Waits until everything is written that was taken so far, but not for a reader that does not read. What is taken
    /// afterwards is written, too, if there is time.
    pub(crate) fn close(&self) {
        let mut waiting = self.waiting();
        waiting.is_over = true;
        self.wake.notify_one();
        let unwritten = |waiting: &mut Waiting| waiting.is_writing || !waiting.lines.is_empty();
        let _ = self
            .written
            .wait_timeout_while(waiting, FAREWELL, unwritten)
            .unwrap_or_else(PoisonError::into_inner);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, mut out: Box<dyn Write + Send>) {
        let mut lines = Vec::new();
        loop {
            let count = {
                let waiting = self.waiting();
                let nothing = |waiting: &mut Waiting| waiting.lines.is_empty() && !waiting.is_over;
                let waiting = self
                    .wake
                    .wait_while(waiting, nothing)
                    .unwrap_or_else(PoisonError::into_inner);
                let little = |waiting: &mut Waiting| waiting.lines.len() < ENOUGH && !waiting.is_over;
                let (mut waiting, _) = self
                    .wake
                    .wait_timeout_while(waiting, PAUSE, little)
                    .unwrap_or_else(PoisonError::into_inner);
                if waiting.lines.is_empty() {
                    return;
                }
                std::mem::swap(&mut waiting.lines, &mut lines);
                waiting.is_writing = true;
                std::mem::take(&mut waiting.count)
            };
            if out.write_all(&lines).and_then(|()| out.flush()).is_err() {
                self.dropped.increment(count);
            }
            lines.clear();
            self.waiting().is_writing = false;
            self.written.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Tells what is written to it.
    struct Told(Sender<Vec<u8>>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Takes nothing until it is let go.
    struct Stuck {
        began: SyncSender<()>,
        go: Receiver<()>,
        told: Told,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.began.try_send(());
            let _ = self.go.recv();
            self.told.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_of_all_workers_arrive_whole_and_in_order() {
        let (told, lines) = channel();
        let sink = Sink::start(Box::new(Told(told))).unwrap();
        thread::scope(|scope| {
            for worker in 0..4 {
                let sink = &sink;
                scope.spawn(move || {
                    for number in 0..500 {
                        sink.push(format!("{worker} {number}\n").as_bytes());
                    }
                });
            }
        });
        sink.close();
        let text: Vec<u8> = lines.try_iter().flatten().collect();
        let text = String::from_utf8(text).unwrap();
        for worker in 0..4 {
            let own = text.lines().filter_map(|line| line.strip_prefix(&format!("{worker} ")));
            let own: Vec<u32> = own.map(|number| number.parse().unwrap()).collect();
            assert_eq!(own, (0..500).collect::<Vec<_>>());
        }
        assert_eq!(text.lines().count(), 2000);
    }

    #[test]
    fn a_single_line_is_written_without_anybody_asking() {
        let (told, lines) = channel();
        let sink = Sink::start(Box::new(Told(told))).unwrap();
        for line in [b"one\n", b"two\n"] {
            sink.push(line);
            assert_eq!(lines.recv_timeout(PATIENCE).unwrap(), line);
        }
    }

    #[test]
    fn a_reader_that_does_not_read_holds_nobody_up_and_costs_lines() {
        let ((told, lines), (began, writing), (go, gone)) = (channel(), sync_channel(1), channel());
        let stuck = Stuck {
            began,
            go: gone,
            told: Told(told),
        };
        let sink = Sink::start(Box::new(stuck)).unwrap();
        sink.push(b"first\n");
        writing.recv_timeout(PATIENCE).unwrap();
        let line = [b'x'; 1024];
        for _ in 0..3 * MOST / line.len() {
            sink.push(&line);
        }
        assert_eq!(sink.waiting().lines.len(), MOST);
        drop(go);
        sink.close();
        let written: usize = lines.try_iter().map(|piece| piece.len()).sum();
        assert_eq!(written, "first\n".len() + MOST);
    }
}
