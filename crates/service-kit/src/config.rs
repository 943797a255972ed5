//! Configuration in three layers, later ones winning: the defaults beside the code, the operator's file, the environment.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use config::{Config, ConfigError, Environment, File, FileFormat};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, IntoDeserializer, SeqAccess, Visitor};
use serde_json::Value;

/// What is wrong with a configuration: where, which key, and what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}{place}: {problem}\n  {remedy}", .file.as_ref().map(|file| format!("{file}: ")).unwrap_or_default())]
pub struct Mistake {
    /// The file that the key was read from, where that is known.
    pub file: Option<String>,
    /// The key (dotted, as in `gateway.listen`); else the variable or the file that the mistake is in.
    pub place: String,
    /// What is wrong there.
    pub problem: String,
    /// What to change.
    pub remedy: String,
}

impl Mistake {
    /// A mistake in `key` (dotted, as in `gateway.listen`), found after all layers were joined.
    pub fn in_key(key: &str, problem: impl fmt::Display, remedy: impl Into<String>) -> Self {
        Self {
            file: None,
            place: key.to_owned(),
            problem: problem.to_string(),
            remedy: remedy.into(),
        }
    }
}

/// One environment variable, when it is set and is Unicode.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The variables that override configuration keys: `PORTCULLIS_<SECTION>__<KEY>`.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]
pub fn overrides() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with(PREFIX) && name.contains("__"))
}

const PREFIX: &str = "PORTCULLIS_";

/// Joins `defaults` (TOML), the operator's `file` and `environment` (see [`overrides`]), and reads a `T` from them.
///
/// # Errors
/// Those of [`Layers::join`] and [`Layers::read`].
pub fn load<T: DeserializeOwned>(
    defaults: &str,
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<T, Mistake> {
    Layers::join(defaults, file, environment)?.read()
}

/// The layers of a configuration, joined: every key with the value that counts, secrets among them.
pub struct Layers {
    joined: Config,
    file: Option<PathBuf>,
    variables: HashMap<String, String>,
}

impl Layers {
    /// Joins `defaults` (TOML), the operator's `file` and `environment` (see [`overrides`]).
    ///
    /// A variable `PORTCULLIS_<SECTION>__<KEY>_FILE` names a file that holds the value of the key, without the line's end.
    ///
    /// # Errors
    /// When a file cannot be read or parsed.
    pub fn join(
        defaults: &str,
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Mistake> {
        let mut layers = Config::builder().add_source(File::from_str(defaults, FileFormat::Toml));
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|error| Mistake {
                file: None,
                place: path.display().to_string(),
                problem: format!("cannot be read: {error}"),
                remedy:
                    "Name a file that exists and that this user may read, or leave --config and PORTCULLIS_CONFIG unset."
                        .to_owned(),
            })?;
            toml_syntax(&text, path)?;
            layers = layers.add_source(File::from(PathBuf::from(path)).format(FileFormat::Toml));
        }
        let variables = with_files_read(environment)?;
        let environment = Environment::with_prefix("PORTCULLIS")
            .prefix_separator("_")
            .separator("__")
            .source(Some(variables.clone()));
        let joined = layers.add_source(environment).build();
        Ok(Self {
            joined: joined.map_err(|error| mistake(&error, file, &variables))?,
            file: file.map(Path::to_owned),
            variables,
        })
    }

    /// Reads a `T` from them.
    ///
    /// # Errors
    /// The first mistake found: a key that is unknown or has a value of the wrong kind.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Mistake> {
        let read = self.joined.clone().try_deserialize();
        read.map_err(|error| mistake(&error, self.file.as_deref(), &self.variables))
    }

    /// The keys (dotted, as in `gateway.listen`) that have another value in `other`, or are only in one of the two.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<String> {
        let mut keys = Vec::new();
        differing("", &self.values(), &other.values(), &mut keys);
        keys
    }

    fn values(&self) -> Value {
        // Every value that TOML and variables can hold is one that JSON can.
        self.joined.clone().try_deserialize().unwrap_or_default()
    }
}

fn differing(key: &str, one: &Value, other: &Value, keys: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                let dot = if key.is_empty() { "" } else { "." };
                let value = |table: &'_ serde_json::Map<String, Value>| table.get(name).cloned().unwrap_or_default();
                differing(&format!("{key}{dot}{name}"), &value(one), &value(other), keys);
            }
        }
        _ if one == other => {}
        _ => keys.push(key.to_owned()),
    }
}

/// The mistake, in the layer that it was made in: a variable that names the key in question, else the operator's file.
fn mistake(error: &ConfigError, file: Option<&Path>, variables: &HashMap<String, String>) -> Mistake {
    let (key, problem) = key_and_problem(error);
    let named = |variable: &&String| {
        let named = variable.trim_start_matches(PREFIX).replace("__", ".").to_lowercase();
        let last = named.rsplit('.').next().unwrap_or(&named);
        key.as_ref() == Some(&named) || problem.contains(&format!("unknown field `{last}`"))
    };
    let file = file.map(|file| file.display().to_string());
    let (file, place) = match (variables.keys().find(named), key) {
        (Some(variable), _) => (None, variable.clone()),
        (None, Some(key)) => (file, key),
        (None, None) => (None, file.unwrap_or_else(|| "configuration".to_owned())),
    };
    Mistake {
        file,
        place,
        problem,
        remedy: "Every key, with its meaning and default, is listed by `portcullis defaults`.".to_owned(),
    }
}

/// The key (dotted) that `error` is about, if it is about one, and what is wrong with it.
fn key_and_problem(error: &ConfigError) -> (Option<String>, String) {
    match error {
        ConfigError::NotFound(key) => (Some(dotted(key)), "is missing".to_owned()),
        ConfigError::Type {
            unexpected,
            expected,
            key,
            ..
        } => (
            key.as_deref().map(dotted),
            format!("is of the wrong kind: {unexpected}, expected {expected}"),
        ),
        ConfigError::At { error, key, .. } => (key.as_deref().map(dotted), error.to_string()),
        other => (None, other.to_string()),
    }
}

/// `key` with a dot after each index too: the library writes `routes[0]path`.
fn dotted(key: &str) -> String {
    key.replace(']', "].")
        .replace("].[", "][")
        .replace("..", ".")
        .trim_end_matches('.')
        .to_owned()
}

/// Checks the syntax by itself, since the joined layers no longer know lines.
fn toml_syntax(text: &str, path: &Path) -> Result<(), Mistake> {
    use config::Format;
    FileFormat::Toml
        .parse(Some(&path.display().to_string()), text)
        .map(drop)
        .map_err(|error| Mistake {
            file: None,
            place: path.display().to_string(),
            problem: format!("is not TOML: {error}"),
            remedy: "Mend the line; strings need quotes, tables are [name].".to_owned(),
        })
}

fn with_files_read(
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<HashMap<String, String>, Mistake> {
    environment
        .into_iter()
        .map(|(name, value)| match name.strip_suffix("_FILE") {
            None => Ok((name, value)),
            Some(key) => match std::fs::read_to_string(&value) {
                Ok(text) => Ok((key.to_owned(), text.trim_end_matches(['\r', '\n']).to_owned())),
                Err(error) => Err(Mistake {
                    file: None,
                    problem: format!("the file {value} cannot be read: {error}"),
                    remedy: "Name a file that exists and that this user may read.".to_owned(),
                    place: name,
                }),
            },
        })
        .collect()
}

/// Reads a word that `T`, an enum, is written as: whoever wrote another one is told which there are.
///
/// # Errors
/// Those of the deserializer, for anything else.
pub fn word<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::deserialize(String::deserialize(deserializer)?.into_deserializer())
}

/// Reads a list, or, as an environment variable can only give it, a string of items between commas.
///
/// # Errors
/// Those of the deserializer, for anything else.
pub fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Items;
    impl<'de> Visitor<'de> for Items {
        type Value = Vec<String>;
        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a list of strings, or one string with commas between the items")
        }
        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect())
        }
        fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(items))
        }
    }
    deserializer.deserialize_any(Items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Example {
        gateway: Gateway,
    }

    #[derive(Debug, serde::Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Gateway {
        port: u16,
        #[serde(deserialize_with = "list")]
        origins: Vec<String>,
        secret: String,
        #[serde(default)]
        doors: Vec<Door>,
    }

    #[derive(Debug, serde::Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Door {
        #[serde(deserialize_with = "word")]
        state: State,
        #[serde(default)]
        locks: Vec<u8>,
    }

    #[derive(Debug, serde::Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum State {
        Open,
        Shut,
    }

    const DEFAULTS: &str = "[gateway]\nport = 1\norigins = ['a', 'b']\nsecret = ''";

    fn with(variables: &[(&str, &str)]) -> Result<Example, Mistake> {
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        load(DEFAULTS, None, variables)
    }

    #[test]
    fn a_variable_overrides_a_default_and_may_hold_a_list() {
        let example = with(&[
            ("PORTCULLIS_GATEWAY__PORT", "7"),
            ("PORTCULLIS_GATEWAY__ORIGINS", "c, d"),
        ])
        .unwrap();
        assert_eq!(
            (example.gateway.port, example.gateway.origins),
            (7, vec!["c".to_owned(), "d".to_owned()])
        );
    }

    #[test]
    fn a_secret_may_stand_in_a_file_and_keeps_its_leading_zeros() {
        let file = std::env::temp_dir().join(format!("portcullis-{}", crate::random::uuid()));
        std::fs::write(&file, "0123\n").unwrap();
        let example = with(&[("PORTCULLIS_GATEWAY__SECRET_FILE", &file.to_string_lossy())]).unwrap();
        std::fs::remove_file(file).unwrap();
        assert_eq!(example.gateway.secret, "0123");
    }

    #[test]
    fn an_unknown_key_and_a_wrong_value_are_mistakes_that_name_the_key() {
        let unknown = with(&[("PORTCULLIS_GATEWAY__PROT", "7")]).unwrap_err();
        assert!(unknown.problem.contains("prot"), "{unknown}");
        assert_eq!(unknown.place, "PORTCULLIS_GATEWAY__PROT");
        let wrong = with(&[("PORTCULLIS_GATEWAY__PORT", "seven")]).unwrap_err();
        assert!(wrong.problem.contains("seven"), "{wrong}");
        assert_eq!(wrong.place, "PORTCULLIS_GATEWAY__PORT");
    }

    #[test]
    fn a_mistake_in_the_file_names_the_file_the_key_and_what_it_may_be() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("portcullis.toml");
        let doors = |doors: &str| {
            std::fs::write(&file, format!("[gateway]\ndoors = [{doors}]")).unwrap();
            let mistake = load::<Example>(DEFAULTS, Some(&file), []).unwrap_err();
            assert!(
                mistake.to_string().starts_with(&format!("{}: ", file.display())),
                "{mistake}"
            );
            (mistake.place, mistake.problem)
        };
        for (wrong, place, problem) in [
            (
                "{ state = 'ajar' }",
                "gateway.doors[0].state",
                "unknown variant `ajar`, expected `open` or `shut`",
            ),
            ("{ state = 'open' }, {}", "gateway.doors[1].state", "is missing"),
            (
                "{ state = 'open', locks = [1, 'two'] }",
                "gateway.doors[0].locks[1]",
                "string \"two\"",
            ),
            ("{ stat = 'open' }", "gateway.doors[0]", "unknown field `stat`"),
        ] {
            let told = doors(wrong);
            assert!(told.0 == place && told.1.contains(problem), "{wrong}: {told:?}");
        }
    }

    #[test]
    fn two_configurations_differ_in_the_keys_that_have_other_values() {
        let layers = |variables: &[(&str, &str)]| {
            let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            Layers::join(DEFAULTS, None, variables).unwrap()
        };
        let one = layers(&[("PORTCULLIS_GATEWAY__PORT", "7"), ("PORTCULLIS_GATEWAY__TLS__KEY", "k")]);
        let other = layers(&[("PORTCULLIS_GATEWAY__PORT", "8"), ("PORTCULLIS_GATEWAY__SECRET", "s")]);
        assert_eq!(
            one.differing(&other),
            ["gateway.port", "gateway.secret", "gateway.tls"],
            "a table that is not there has no keys to name"
        );
        assert!(one.differing(&one).is_empty());
    }

    #[test]
    fn a_missing_file_is_a_mistake_that_names_it() {
        let mistake = load::<Example>(DEFAULTS, Some(Path::new("/nowhere/portcullis.toml")), []).unwrap_err();
        assert_eq!(mistake.place, "/nowhere/portcullis.toml");
    }
}
