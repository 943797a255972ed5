//! Making a changed configuration count without a restart: on SIGHUP, or when a file that it stands in was changed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use service_kit::Clock;
use service_kit::blocking::BlockingPool;
use service_kit::config::{Layers, Mistake};
use tokio::signal::unix::Signal;

use crate::config::{Config, Missing};
use crate::data::DataDirectory;
use crate::role::{GatewayReloader, Role};

/// How often the files are looked at. A change counts once they were found the same twice: nobody is writing any more.
const PAUSE: Duration = Duration::from_secs(1);

/// Where a configuration comes from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The operator's file, if there is one.
    pub file: Option<PathBuf>,
    /// What fills in the rest.
    pub data: DataDirectory,
}

/// A configuration as it was found at some moment.
pub struct Found {
    /// What it says.
    pub config: Config,
    layers: Layers,
    seen: Vec<(PathBuf, Option<Stamp>)>,
}

impl Source {
    /// Reads it.
    ///
    /// # Errors
    /// The first mistake that keeps it from being read.
    pub fn read(&self, missing: Missing) -> anyhow::Result<Found> {
        let mut seen: Vec<_> = self.file.iter().map(|file| stamped(file)).collect();
        let (config, layers) = Config::read_layers(self.file.as_deref(), &self.data, missing)?;
        seen.extend(config.gateway.files().map(stamped));
        Ok(Found { config, layers, seen })
    }
}

/// What tells a changed file from the one that was there before: another file may have been put in its place, or a link
/// on the way to it may lead elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// `path`, and what is there now.
fn stamped(path: &Path) -> (PathBuf, Option<Stamp>) {
    let stamp = std::fs::metadata(path).ok().map(|file| Stamp {
        device: file.dev(),
        inode: file.ino(),
        size: file.size(),
        modified: (file.mtime(), file.mtime_nsec()),
    });
    (path.to_owned(), stamp)
}

/// Keeps a running gateway at what its configuration says.
pub struct Reload {
    source: Source,
    /// The roles of this process: all of their mistakes are looked for, as at the start.
    roles: &'static [Role],
    reloader: GatewayReloader,
    /// What this process was started with.
    started: Layers,
    /// The files as they were when they were last read.
    seen: Vec<(PathBuf, Option<Stamp>)>,
    /// The files as they were found at the last look, when that differs.
    changing: Option<Vec<(PathBuf, Option<Stamp>)>>,
    clock: Clock,
}

impl Reload {
    /// For a gateway that was just started, among `roles`, with what was `found` at `source`.
    #[must_use]
    pub fn new(source: Source, roles: &'static [Role], found: Found, reloader: GatewayReloader, clock: Clock) -> Self {
        let reload = Self {
            source,
            roles,
            reloader,
            started: found.layers,
            seen: found.seen,
            changing: None,
            clock,
        };
        reload.date();
        reload
    }

    /// Goes on until it is dropped. `hangup` asks for a reload, whether anything has changed or not.
    pub async fn run(self, mut hangup: Signal) {
        let pool = BlockingPool::new("reload", 1, 1);
        let mut reload = self;
        loop {
            let asked = tokio::select! {
                Some(()) = hangup.recv() => true,
                () = tokio::time::sleep(PAUSE) => false,
            };
            let looked = pool.run(move || {
                if asked || reload.is_due() {
                    reload.read();
                }
                reload
            });
            reload = match looked.await {
                Ok(reload) => reload,
                Err(error) => {
                    log::error!(cause:% = error; "the configuration is not watched any more; restart to change it");
                    return;
                }
            };
        }
    }

    /// Whether the files are not what was read last, and have not changed since the last look.
    fn is_due(&mut self) -> bool {
        let now: Vec<_> = self.seen.iter().map(|(path, _)| stamped(path)).collect();
        if now == self.seen {
            self.changing = None;
            return false;
        }
        let is_quiet = self.changing.as_ref() == Some(&now);
        self.changing = Some(now);
        is_quiet
    }

    fn read(&mut self) {
        self.changing = None;
        // What is refused now is not read again before it changes.
        self.seen = self.seen.iter().map(|(path, _)| stamped(path)).collect();
        let outcome = self
            .source
            .read(Missing::Leave)
            .map_err(|error| vec![unreadable(&error)]);
        let outcome = outcome.and_then(|found| {
            self.seen = found.seen;
            let mistakes = found.config.mistakes(self.roles);
            if !mistakes.is_empty() {
                return Err(mistakes);
            }
            self.reloader.reload(&found.config)?;
            Ok(found.layers)
        });
        match outcome {
            Ok(layers) => {
                metrics::counter!("config_reloads_total", "result" => "applied").increment(1);
                self.date();
                log::info!(file = self.name().as_str(); "the configuration was reloaded");
                self.mention_restart(&layers);
            }
            Err(mistakes) => {
                metrics::counter!("config_reloads_total", "result" => "refused").increment(1);
                for mistake in &mistakes {
                    log::error!(
                        file = self.name().as_str(), key = mistake.place.as_str(), problem = mistake.problem.as_str(),
                        remedy = mistake.remedy.as_str();
                        "there is a mistake in the configuration"
                    );
                }
                log::error!(
                    file = self.name().as_str(), mistakes = mistakes.len();
                    "the configuration was not reloaded: what was in force before stays so"
                );
            }
        }
    }

    /// What was changed and does not count yet.
    fn mention_restart(&self, layers: &Layers) {
        let mut keys = self.started.differing(layers);
        keys.retain(|key| !portcullis_gateway::is_reloaded(key));
        if !keys.is_empty() {
            let keys = keys.join(", ");
            log::warn!(keys = keys.as_str(); "some of what was changed needs a restart to count");
        }
    }

    /// The operator's file, for the log.
    fn name(&self) -> String {
        let file = self.source.file.as_ref();
        file.map_or("none".to_owned(), |file| file.display().to_string())
    }

    fn date(&self) {
        let now = self.clock.now().as_second();
        #[expect(clippy::cast_precision_loss, reason = "seconds fit for millions of years")]
        metrics::gauge!("config_last_good_load_timestamp_seconds").set(now as f64);
    }
}

fn unreadable(error: &anyhow::Error) -> Mistake {
    match error.downcast_ref::<Mistake>() {
        Some(mistake) => mistake.clone(),
        None => Mistake {
            file: None,
            place: "configuration".to_owned(),
            problem: format!("{error:#}"),
            remedy: "Make what it needs readable for this user.".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_that_is_written_renamed_or_linked_anew_has_another_stamp() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let file = path("portcullis.toml");
        let stamp = || stamped(&file).1;
        assert_eq!(stamp(), None);
        std::fs::write(&file, "[gateway]\n").unwrap();
        let mut stamps = vec![stamp()];
        std::fs::write(&file, "[gateway]\nworkers = 1\n").unwrap();
        stamps.push(stamp());
        // As editors do it.
        std::fs::write(path("portcullis.toml~"), "[gateway]\nworkers = 2\n").unwrap();
        std::fs::rename(path("portcullis.toml~"), &file).unwrap();
        stamps.push(stamp());
        // As Kubernetes mounts a ConfigMap: file -> ..data/file, ..data -> a directory.
        for (turn, version) in ["..1", "..2"].into_iter().enumerate() {
            std::fs::create_dir(path(version)).unwrap();
            std::fs::write(path(version).join("portcullis.toml"), "[gateway]\nworkers = 3\n").unwrap();
            symlink(version, path("..data_tmp")).unwrap();
            std::fs::rename(path("..data_tmp"), path("..data")).unwrap();
            if turn == 0 {
                std::fs::remove_file(&file).unwrap();
                symlink("..data/portcullis.toml", &file).unwrap();
            }
            stamps.push(stamp());
        }
        assert!(stamps.iter().all(Option::is_some));
        for (index, stamp) in stamps.iter().enumerate() {
            assert!(!stamps[..index].contains(stamp), "{index}: {stamps:?}");
        }
    }
}
