//! The data directory: databases and secrets of the embedded default, made on the first start and found on the next.

use std::path::{Path, PathBuf};

use anyhow::Context;
use service_kit::{private, random};

/// The directory that `PORTCULLIS_DATA_DIR` names, or `./data`.
#[derive(Clone, Debug)]
pub struct DataDirectory(PathBuf);

impl DataDirectory {
    /// The directory at `path`, which need not exist yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The one that the environment names.
    #[must_use]
    pub fn from_environment() -> Self {
        Self(
            service_kit::config::environment("PORTCULLIS_DATA_DIR")
                .unwrap_or_else(|| "data".to_owned())
                .into(),
        )
    }

    /// Makes it, readable for its owner only.
    pub fn create(&self) -> anyhow::Result<()> {
        private::directory(&self.secrets()).with_context(|| {
            format!(
                "cannot make {}: choose a writable place with PORTCULLIS_DATA_DIR",
                self.0.display()
            )
        })
    }

    /// The URL of the SQLite file `name` in it.
    #[must_use]
    pub fn sqlite_url(&self, name: &str) -> String {
        let path = std::path::absolute(self.0.join(name)).unwrap_or_else(|_| self.0.join(name));
        format!("sqlite://{}", path.display())
    }

    /// Whether any secret has been made in it.
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        std::fs::read_dir(self.secrets()).is_ok_and(|mut secrets| secrets.next().is_some())
    }

    /// Whether `url` names a SQLite file in it.
    #[must_use]
    pub fn holds(&self, url: &str) -> bool {
        url.starts_with(&self.sqlite_url(""))
    }

    /// The secret `name`, if it has been made.
    pub fn find_secret(&self, name: &str) -> anyhow::Result<Option<String>> {
        let path = self.secrets().join(name);
        if path.exists() {
            self.secret(name).map(Some)
        } else {
            Ok(None)
        }
    }

    /// The secret `name`: 32 random bytes, made when it is asked for the first time.
    pub fn secret(&self, name: &str) -> anyhow::Result<String> {
        let path = self.secrets().join(name);
        private::secret(&path, || random::hex(&random::bytes::<32>()))
            .with_context(|| format!("while reading the secret {}", path.display()))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn secrets(&self) -> PathBuf {
        self.0.join("secrets")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_elsewhere_is_not_in_the_data_directory() {
        let data = DataDirectory::new("/data".into());
        assert!(data.holds(&data.sqlite_url("identity.db")));
        assert!(!data.holds("sqlite:///database/identity.db"));
        assert!(!data.holds("postgres://postgres/data"));
    }
}
