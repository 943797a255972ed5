//! The files of the built web app: found and read once, at start, so that no request ever touches the file system.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use actix_web::http::header::{ContentEncoding, EntityTag, HeaderValue};
use aws_lc_rs::digest;
use bytes::Bytes;
use mime_guess::MimeGuess;
use service_kit::config::Mistake;
use service_kit::random;

/// The configuration key of the directory.
const KEY: &str = "gateway.web_root";
/// The page that every address of the app begins with.
pub(super) const INDEX: &str = "/index.html";
/// Where a build puts files whose names change with their content.
pub(super) const ASSETS: &str = "/assets/";

/// All files together, compressed forms included.
const MOST_BYTES: u64 = 32 * 1024 * 1024;
const MOST_FILES: usize = 10_000;
const DEEPEST: usize = 16;

/// What a compressed form adds to the name of its file.
const FORMS: [(&str, ContentEncoding); 2] = [(".br", ContentEncoding::Brotli), (".gz", ContentEncoding::Gzip)];

/// A file as it is served.
#[derive(Debug)]
pub(crate) struct Asset {
    pub(super) media: HeaderValue,
    pub(super) plain: Form,
    /// What its build compressed beside it, where that is smaller.
    pub(super) compressed: Vec<(ContentEncoding, Form)>,
}

/// One encoding of a file.
#[derive(Debug)]
pub(crate) struct Form {
    pub(super) bytes: Bytes,
    /// The SHA-256 of the bytes: a strong validator (RFC 9110 section 8.8.1).
    pub(super) tag: EntityTag,
}

/// A file that was found, with its length.
struct Found {
    path: PathBuf,
    length: u64,
}

/// Makes sure that `root` can be served, without reading the files.
///
/// # Errors
/// What [`read`] would fail with, as far as names and sizes show it.
pub(crate) fn examine(root: &Path) -> Result<(), Mistake> {
    find(root).map(drop)
}

/// Every file below `root` by the path it is served at, decoded; `None` when no app has been built there.
///
/// # Errors
/// When there is more than is kept in memory, something that is no file, or something that cannot be read.
pub(crate) fn read(root: &Path) -> Result<Option<HashMap<String, Asset>>, Mistake> {
    let Some(found) = find(root)? else { return Ok(None) };
    let mut assets = HashMap::new();
    for (name, file) in &found {
        let is_form = |(suffix, _): &(&str, _)| name.strip_suffix(suffix).is_some_and(|of| found.contains_key(of));
        if FORMS.iter().any(is_form) {
            continue;
        }
        let plain = Form::read(file)?;
        let mut compressed = Vec::new();
        for (suffix, encoding) in FORMS {
            if let Some(file) = found.get(&format!("{name}{suffix}")) {
                let form = Form::read(file)?;
                if form.bytes.len() < plain.bytes.len() {
                    compressed.push((encoding, form));
                }
            }
        }
        let media = media(name);
        assets.insert(
            name.clone(),
            Asset {
                media,
                plain,
                compressed,
            },
        );
    }
    Ok(Some(assets))
}

fn find(root: &Path) -> Result<Option<BTreeMap<String, Found>>, Mistake> {
    let root = match fs::canonicalize(root) {
        Ok(root) => root,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(root, &error)),
    };
    let mut walk = Walk {
        root: &root,
        found: BTreeMap::new(),
        bytes: 0,
    };
    walk.enter(&root, "", 0)?;
    Ok(walk.found.contains_key(INDEX).then_some(walk.found))
}

struct Walk<'a> {
    root: &'a Path,
    found: BTreeMap<String, Found>,
    bytes: u64,
}

impl Walk<'_> {
    /// Takes what is in `directory`, whose files are served below `prefix`. Names that begin with a dot are passed over:
    /// they are not the app's.
    fn enter(&mut self, directory: &Path, prefix: &str, depth: usize) -> Result<(), Mistake> {
        if depth > DEEPEST {
            return Err(mistake(
                directory,
                format_args!("is more than {DEEPEST} directories deep"),
            ));
        }
        for entry in fs::read_dir(directory).map_err(|error| unreadable(directory, &error))? {
            let entry = entry.map_err(|error| unreadable(directory, &error))?;
            let path = entry.path();
            let Ok(name) = entry.file_name().into_string() else {
                return Err(mistake(&path, "has a name that is not Unicode"));
            };
            if !name.starts_with('.') {
                self.take(path, format!("{prefix}/{name}"), depth)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, path: PathBuf, name: String, depth: usize) -> Result<(), Mistake> {
        let unread = |error| unreadable(&path, &error);
        let linked = fs::symlink_metadata(&path).map_err(unread)?.is_symlink();
        let metadata = fs::metadata(&path).map_err(unread)?;
        if linked && !fs::canonicalize(&path).map_err(unread)?.starts_with(self.root) {
            return Err(mistake(&path, "is a link that leads out of the directory"));
        }
        if metadata.is_dir() && linked {
            return Err(mistake(
                &path,
                "is a link to a directory, of which only those to files are followed",
            ));
        }
        if metadata.is_dir() {
            return self.enter(&path, &name, depth + 1);
        }
        if !metadata.is_file() {
            return Err(mistake(&path, "is neither a file nor a directory"));
        }
        let length = metadata.len();
        self.bytes = self.bytes.saturating_add(length);
        self.found.insert(name, Found { path, length });
        if self.bytes > MOST_BYTES || self.found.len() > MOST_FILES {
            let most = MOST_BYTES / (1024 * 1024);
            let problem =
                format_args!("has more than {most} MiB, or more than {MOST_FILES} files, to be kept in memory");
            return Err(mistake(self.root, problem));
        }
        Ok(())
    }
}

impl Form {
    fn read(file: &Found) -> Result<Self, Mistake> {
        let mut bytes = Vec::new();
        // What was found to fit is all that is read, whatever became of the file since.
        File::open(&file.path)
            .and_then(|open| open.take(file.length).read_to_end(&mut bytes))
            .map_err(|error| unreadable(&file.path, &error))?;
        let tag = random::hex(digest::digest(&digest::SHA256, &bytes).as_ref());
        Ok(Self {
            bytes: bytes.into(),
            tag: EntityTag::new_strong(tag),
        })
    }
}

/// The media type that the name stands for; text is UTF-8.
fn media(name: &str) -> HeaderValue {
    let guess = MimeGuess::from_path(name).first_or_octet_stream();
    let text = matches!(guess.essence_str(), "application/javascript") || guess.type_() == "text";
    let media = if text {
        format!("{guess}; charset=utf-8")
    } else {
        guess.to_string()
    };
    HeaderValue::try_from(media).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

fn unreadable(path: &Path, error: &io::Error) -> Mistake {
    mistake(path, format_args!("cannot be read: {error}"))
}

fn mistake(path: &Path, problem: impl std::fmt::Display) -> Mistake {
    Mistake::in_key(
        KEY,
        format_args!("{} {problem}", path.display()),
        "Name the directory that the web app was built into, and nothing else, or \"\" to serve none.",
    )
}
