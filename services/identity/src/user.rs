//! Users, and the names that tell them apart.

use std::fmt;
use std::str::FromStr;

use email_address::EmailAddress;
use jiff::Timestamp;
use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

use crate::password::PasswordHash;

const USERNAME_LENGTH: usize = 255;
const EMAIL_LENGTH: usize = 128;

/// A user's id: `sub` of the user's tokens. Never given to a second user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserId(Uuid);

impl UserId {
    /// The id of a user who is made `millis` after the epoch.
    pub(crate) fn new(millis: i64) -> Self {
        Self(service_kit::random::ordered_uuid(millis))
    }
}

impl FromStr for UserId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::try_parse(text).map(Self)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(formatter)
    }
}

/// An account, as it was when it was read.
#[derive(Clone, Debug)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// The name it goes by, as it was given.
    pub username: String,
    /// Its email address, as it was given.
    pub email: String,
    /// Whether it may log in.
    pub is_active: bool,
    /// Whether it belongs to the staff: the role `staff`.
    pub is_staff: bool,
    /// Whether it may see and change other accounts: the role `superuser`.
    pub is_superuser: bool,
    /// Its other roles.
    pub roles: Vec<String>,
    /// Raised whenever its sessions must end; a session opened with an older one is refused.
    pub epoch: i64,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
    pub(crate) password: PasswordHash,
}

impl User {
    /// The `roles` claim of its tokens.
    #[must_use]
    pub fn all_roles(&self) -> Vec<String> {
        let mut roles = self.roles.clone();
        for (held, role) in [(self.is_superuser, "superuser"), (self.is_staff, "staff")] {
            if held && !roles.iter().any(|present| present == role) {
                roles.push(role.to_owned());
            }
        }
        roles
    }
}

/// A username that may be registered, and the key it is compared by.
#[derive(Clone, Debug)]
pub(crate) struct Username {
    pub(crate) text: String,
    pub(crate) key: String,
}

impl Username {
    /// Reads `text`, or says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.chars().any(char::is_control) {
            return Err("Control characters are not allowed.".to_owned());
        }
        let key = username_key(text);
        // Compatibility characters can grow many times over when they are taken apart, and keys are indexed.
        at_most(USERNAME_LENGTH, [text, &key])?;
        Ok(Self {
            text: text.to_owned(),
            key,
        })
    }
}

/// An email address that may be registered, and the key it is compared by.
#[derive(Clone, Debug)]
pub(crate) struct Email {
    pub(crate) text: String,
    pub(crate) key: String,
}

impl Email {
    /// Reads `text`, or says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let options = email_address::Options::default()
            .with_required_tld()
            .without_display_text()
            .without_domain_literal();
        at_most(EMAIL_LENGTH, [text])?;
        if text.chars().any(char::is_control) || EmailAddress::parse_with_options(text, options).is_err() {
            return Err("Enter a valid email address.".to_owned());
        }
        Ok(Self {
            text: text.to_owned(),
            key: email_key(text),
        })
    }
}

/// The most roles an account may have, and the most characters of one.
const ROLES: (usize, usize) = (32, 64);

/// Reads roles, each once, or says what is wrong with them.
pub(crate) fn parse_roles(roles: Vec<String>) -> Result<Vec<String>, String> {
    let mut parsed = Vec::new();
    for role in roles {
        // They are claims, and a list in a header of their own.
        let plain = |character: char| character.is_ascii_alphanumeric() || "._:-".contains(character);
        if role.is_empty() || role.len() > ROLES.1 || !role.chars().all(plain) {
            return Err(format!(
                "A role has 1 to {} letters, digits, dots, colons, hyphens or underscores; {role:?} does not.",
                ROLES.1
            ));
        }
        if ["staff", "superuser"].contains(&role.as_str()) {
            return Err(format!("The role {role:?} is given by is_{role}."));
        }
        if !parsed.contains(&role) {
            parsed.push(role);
        }
    }
    if parsed.len() > ROLES.0 {
        return Err(format!("Ensure this field has no more than {} elements.", ROLES.0));
    }
    Ok(parsed)
}

fn at_most<const N: usize>(limit: usize, texts: [&str; N]) -> Result<(), String> {
    if texts.iter().any(|text| text.chars().count() > limit) {
        return Err(format!("Ensure this field has no more than {limit} characters."));
    }
    Ok(())
}

/// What usernames are compared by.
pub(crate) fn username_key(text: &str) -> String {
    // Lower-casing can undo the normal form, so it is made again.
    text.nfkc().collect::<String>().to_lowercase().nfkc().collect()
}

/// What email addresses are compared by.
pub(crate) fn email_key(text: &str) -> String {
    text.to_lowercase()
}

/// What somebody who logs in says who they are. Anything may stand here; most of it is nobody's.
#[derive(Clone, Debug)]
pub(crate) enum Login {
    /// The key of an email address.
    Email(String),
    /// The key of a username.
    Username(String),
}

impl Login {
    /// Whoever has this email address.
    pub(crate) fn email(text: &str) -> Self {
        Self::Email(email_key(text))
    }

    /// Whoever has this username.
    pub(crate) fn username(text: &str) -> Self {
        Self::Username(username_key(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usernames_that_look_alike_have_one_key() {
        let key = |text| Username::parse(text).unwrap().key;
        assert_eq!(key("Ada"), key("ada"));
        assert_eq!(key("ﬁne"), key("FINE"));
        assert_eq!(key("e\u{301}ve"), key("\u{c9}VE"));
        assert_ne!(key("ada"), key("adá"));
        assert_eq!(Username::parse("Ada").unwrap().text, "Ada");
    }

    #[test]
    fn a_username_has_up_to_255_characters_and_so_has_its_key() {
        let too_long = "Ensure this field has no more than 255 characters.";
        assert!(Username::parse(&"é".repeat(255)).is_ok());
        assert_eq!(Username::parse(&"é".repeat(256)).unwrap_err(), too_long);
        assert_eq!(Username::parse(&"\u{fdfa}".repeat(200)).unwrap_err(), too_long);
        assert_eq!(
            Username::parse("a\u{7}").unwrap_err(),
            "Control characters are not allowed."
        );
    }

    #[test]
    fn an_email_address_has_a_domain_with_a_top_level_and_nothing_around_it() {
        for good in [
            "a@b.de",
            "a.b+c@d-e.co.uk",
            "testuser@yopmail.com",
            "O'Hara@Example.COM",
        ] {
            assert!(Email::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "a@",
            "@b.de",
            "a@b",
            "a b@c.de",
            "Ada <a@b.de>",
            "a@[127.0.0.1]",
            "a@b..de",
            "\"a\nb\"@c.de",
        ] {
            assert_eq!(Email::parse(bad).unwrap_err(), "Enter a valid email address.", "{bad}");
        }
        let long = format!("{}@example.com", "a".repeat(117));
        assert_eq!(
            Email::parse(&long).unwrap_err(),
            "Ensure this field has no more than 128 characters."
        );
        assert_eq!(Email::parse("Ada@Example.COM").unwrap().key, "ada@example.com");
    }

    #[test]
    fn ids_of_another_shape_are_none() {
        for bad in ["abc", "undefined", "1", "99999999999999999999999999"] {
            assert!(bad.parse::<UserId>().is_err(), "{bad}");
        }
    }
}
