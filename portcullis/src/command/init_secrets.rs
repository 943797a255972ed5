//! `portcullis init-secrets`: the secrets of roles that run apart, each role's in a directory of its own.
//!
//! A container mounts the directory of its role alone, so whoever breaks into the gateway finds the gateway's secret and
//! not the root secret. What is there already stays, so the command may run before every start.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use service_kit::{private, random};
use url::Url;

/// Readable for the owner, and for the group, which a store's container joins.
const MODE: u32 = 0o440;

/// Where secrets go, and which stores need passwords.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The directory; each role, and each store, gets a directory in it
    directory: PathBuf,
    /// The URL of the users' database, without a password: one is made, and written into `identity/database_url`
    #[arg(long, value_name = "URL")]
    database_url: Option<Url>,
    /// The URL of the sessions' store, without a password: one is made, and written into `token/store_url`
    #[arg(long, value_name = "URL")]
    store_url: Option<Url>,
}

/// Makes what is missing.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let place = |role: &str, name: &str| arguments.directory.join(role).join(name);
    let make = |path: PathBuf| {
        secret(&path).with_context(|| {
            format!(
                "cannot make {}: its directory has to be writable for this user",
                path.display()
            )
        })
    };
    let copy = |path: PathBuf, text: &str| {
        write(&path, text).with_context(|| {
            format!(
                "cannot write {}: its directory has to be writable for this user",
                path.display()
            )
        })
    };
    make(place("token", "root"))?;
    for role in ["gateway", "identity", "home"] {
        let secret = make(place("token", role))?;
        copy(place(role, "client_secret"), &secret)?;
    }
    if let Some(url) = &arguments.database_url {
        let password = make(place("postgres", "password"))?;
        copy(
            place("identity", "database_url"),
            with_password(url, &password)?.as_str(),
        )?;
    }
    if let Some(url) = &arguments.store_url {
        let password = make(place("redis", "password"))?;
        copy(place("token", "store_url"), with_password(url, &password)?.as_str())?;
        copy(place("redis", "redis.conf"), &format!("requirepass {password}"))?;
    }
    say!("Every secret is in {}.", arguments.directory.display());
    Ok(())
}

/// The secret at `path`, made when there is none.
fn secret(path: &Path) -> anyhow::Result<String> {
    let directory = path.parent().context("a secret needs a directory")?;
    private::directory(directory)?;
    let secret = private::secret(path, || random::hex(&random::bytes::<32>()))?;
    std::fs::set_permissions(path, Permissions::from_mode(MODE))?;
    Ok(secret)
}

/// Puts `text` at `path`, at once or not at all. What is there already was written by an earlier start, perhaps for a
/// store that has moved since, and gives way.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let directory = path.parent().context("a secret needs a directory")?;
    private::directory(directory)?;
    if std::fs::read_to_string(path).is_ok_and(|there| there.trim_end() == text) {
        return Ok(());
    }
    let draft = directory.join(format!(".{}", random::hex(&random::bytes::<8>())));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(&draft)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    Ok(File::open(directory)?.sync_all()?)
}

fn with_password(url: &Url, password: &str) -> anyhow::Result<Url> {
    if url.password().is_some() {
        bail!("the URL of a store is given without a password here: one is made");
    }
    let mut url = url.clone();
    url.set_password(Some(password))
        .map_err(|()| anyhow!("{url} is not the URL of a store: it names no host"))?;
    Ok(url)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn arguments(directory: &Path) -> Arguments {
        Arguments {
            directory: directory.to_owned(),
            database_url: Some("postgres://portcullis@postgres/portcullis".parse().unwrap()),
            store_url: Some("redis://redis:6379".parse().unwrap()),
        }
    }

    fn files(directory: &Path) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        for role in std::fs::read_dir(directory).unwrap() {
            for file in std::fs::read_dir(role.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                let name = path.strip_prefix(directory).unwrap().to_string_lossy().into_owned();
                files.insert(name, std::fs::read_to_string(path).unwrap());
            }
        }
        files
    }

    #[test]
    fn each_role_finds_its_own_secrets_and_nobody_elses() {
        let directory = tempfile::tempdir().unwrap();
        run(&arguments(directory.path())).unwrap();
        let files = files(directory.path());
        let names: Vec<_> = files.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "gateway/client_secret",
                "home/client_secret",
                "identity/client_secret",
                "identity/database_url",
                "postgres/password",
                "redis/password",
                "redis/redis.conf",
                "token/gateway",
                "token/home",
                "token/identity",
                "token/root",
                "token/store_url",
            ]
        );
        for role in ["gateway", "identity", "home"] {
            assert_eq!(files[&format!("{role}/client_secret")], files[&format!("token/{role}")]);
        }
        assert_eq!(
            files["identity/database_url"].trim_end(),
            format!(
                "postgres://portcullis:{}@postgres/portcullis",
                files["postgres/password"].trim_end()
            )
        );
        assert_eq!(
            files["token/store_url"].trim_end(),
            format!("redis://:{}@redis:6379", files["redis/password"].trim_end())
        );
        assert_eq!(
            files["redis/redis.conf"],
            format!("requirepass {}", files["redis/password"])
        );
    }

    #[test]
    fn a_second_start_finds_the_secrets_of_the_first_and_makes_what_was_lost() {
        let directory = tempfile::tempdir().unwrap();
        run(&arguments(directory.path())).unwrap();
        let before = files(directory.path());
        std::fs::remove_file(directory.path().join("gateway/client_secret")).unwrap();
        run(&arguments(directory.path())).unwrap();
        assert_eq!(files(directory.path()), before);
    }

    #[test]
    fn a_store_that_has_moved_keeps_its_password() {
        let directory = tempfile::tempdir().unwrap();
        run(&arguments(directory.path())).unwrap();
        let before = files(directory.path());
        let moved = Arguments {
            store_url: Some("redis://elsewhere:6379".parse().unwrap()),
            ..arguments(directory.path())
        };
        run(&moved).unwrap();
        let after = files(directory.path());
        assert_eq!(after["redis/password"], before["redis/password"]);
        assert_eq!(
            after["token/store_url"],
            before["token/store_url"].replace("@redis:", "@elsewhere:")
        );
    }

    #[test]
    fn secrets_are_read_only_and_closed_to_others() {
        let directory = tempfile::tempdir().unwrap();
        run(&arguments(directory.path())).unwrap();
        for name in files(directory.path()).keys() {
            let mode = std::fs::metadata(directory.path().join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, MODE, "{name}");
        }
    }

    #[test]
    fn a_password_in_the_url_of_a_store_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let arguments = Arguments {
            store_url: Some("redis://:mine@redis:6379".parse().unwrap()),
            ..arguments(directory.path())
        };
        let error = run(&arguments).unwrap_err().to_string();
        assert!(error.contains("without a password"), "{error}");
        assert!(!error.contains("mine"), "{error}");
    }
}
