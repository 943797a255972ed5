//! Passwords: hashing them slowly on purpose, and never more at once than the machine can bear.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use service_kit::blocking::BlockingPool;
use service_kit::random;
use zeroize::Zeroizing;

use crate::IdentityError;
use crate::user::User;

/// Makes our hashes of no use to whoever holds plain SHA-256 hashes of the same passwords.
const DOMAIN: &[u8] = b"portcullis password v1";
/// bcrypt's lowest cost.
const LOWEST_COST: u32 = 4;

/// A password that may be set: 8 to 128 characters.
#[derive(Clone, Debug)]
pub(crate) struct Password(SecretString);

impl Password {
    /// Takes `secret`, or says what is wrong with it.
    pub(crate) fn parse(secret: SecretString) -> Result<Self, &'static str> {
        let text = secret.expose_secret();
        // Neither could be sent to log in with.
        if text.contains('\0') {
            return Err("Null characters are not allowed.");
        }
        if text.trim().is_empty() {
            return Err("This field may not be blank.");
        }
        match text.chars().count() {
            ..8 => Err("Ensure this field has at least 8 characters."),
            8..=128 => Ok(Self(secret)),
            _ => Err("Ensure this field has no more than 128 characters."),
        }
    }
}

/// bcrypt's text form of a stored password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PasswordHash(pub(crate) String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordHash")
    }
}

/// Somebody who proved who they are.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) user: User,
    /// What to store instead, when the stored hash was not made at today's cost.
    pub(crate) rehashed: Option<PasswordHash>,
}

/// Hashes and verifies on a bounded pool of threads.
#[derive(Clone, Debug)]
pub(crate) struct PasswordHasher {
    threads: BlockingPool,
    cost: u32,
    /// What the password of nobody is verified against, so that nobody takes as long as somebody.
    dummy: PasswordHash,
}

impl PasswordHasher {
    /// A hasher of that `cost`, with `threads` at work at once (0: all cores but one) and `queue` waiting.
    pub(crate) fn new(cost: u32, threads: usize, queue: usize) -> anyhow::Result<Self> {
        let threads = match threads {
            0 => std::thread::available_parallelism()
                .map_or(1, usize::from)
                .saturating_sub(1),
            n => n,
        };
        let Password(nobody) = Password(SecretString::from(random::hex(&random::bytes::<16>())));
        let cheap = hash(&prehash(&nobody), LOWEST_COST)?;
        // Verifying reads the cost from the text, and no password has to match: it need not be made at the full cost.
        let dummy = PasswordHash(cheap.0.replacen("$04$", &format!("${cost:02}$"), 1));
        Ok(Self {
            threads: BlockingPool::new("hashing", threads.max(1), queue),
            cost,
            dummy,
        })
    }

    /// The hash to store for `password`.
    pub(crate) async fn hash(&self, password: Password) -> Result<PasswordHash, IdentityError> {
        let cost = self.cost;
        let hashed = self.threads.run(move || hash(&prehash(&password.0), cost)).await?;
        Ok(hashed?)
    }

    /// Whether `password` is the one of a user who is signed in: a token alone, which might be copied, does not do for
    /// everything.
    pub(crate) async fn confirm(&self, user: &User, password: SecretString) -> Result<(), IdentityError> {
        match self.verify(Some(user.clone()), password).await {
            Ok(_) => Ok(()),
            Err(IdentityError::WrongCredentials) => Err(IdentityError::WrongPassword),
            Err(error) => Err(error),
        }
    }

    /// `user`, when there is one, it is active, and `password` is the right one. The same work is done whatever is missing.
    pub(crate) async fn verify(&self, user: Option<User>, password: SecretString) -> Result<Verified, IdentityError> {
        let (cost, dummy) = (self.cost, self.dummy.clone());
        self.threads
            .run(move || {
                let prehashed = prehash(&password);
                let against = user.as_ref().map_or(&dummy, |user| &user.password);
                let right = bcrypt::verify(prehashed.as_slice(), &against.0).map_err(anyhow::Error::from)?;
                let user = user
                    .filter(|user| right && user.is_active)
                    .ok_or(IdentityError::WrongCredentials)?;
                let rehashed = (cost_of(&user.password) != Some(cost))
                    .then(|| hash(&prehashed, cost))
                    .transpose()?;
                Ok(Verified { user, rehashed })
            })
            .await?
    }
}

/// 44 characters that stand for a password of any length: bcrypt reads 72 bytes at most and stops at a NUL.
fn prehash(password: &SecretString) -> Zeroizing<Vec<u8>> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, DOMAIN);
    let tag = hmac::sign(&key, password.expose_secret().as_bytes());
    Zeroizing::new(STANDARD.encode(tag).into_bytes())
}

fn hash(prehashed: &Zeroizing<Vec<u8>>, cost: u32) -> anyhow::Result<PasswordHash> {
    let parts = bcrypt::non_truncating_hash_with_salt(prehashed.as_slice(), cost, random::bytes())?;
    Ok(PasswordHash(parts.to_string()))
}

fn cost_of(hash: &PasswordHash) -> Option<u32> {
    Some(hash.0.parse::<bcrypt::HashParts>().ok()?.get_cost())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use service_kit::blocking::BlockingError;

    use super::*;
    use crate::user::UserId;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    fn user(password: PasswordHash, is_active: bool) -> User {
        User {
            id: UserId::new(0),
            username: "ada".to_owned(),
            email: "ada@example.com".to_owned(),
            is_active,
            is_staff: false,
            is_superuser: false,
            roles: Vec::new(),
            epoch: 0,
            created: Timestamp::UNIX_EPOCH,
            updated: Timestamp::UNIX_EPOCH,
            password,
        }
    }

    async fn hashed(hasher: &PasswordHasher, text: &str) -> PasswordHash {
        hasher.hash(Password::parse(secret(text)).unwrap()).await.unwrap()
    }

    #[test]
    fn a_password_has_8_to_128_characters_however_many_bytes_those_are() {
        for good in ["12345678", "ääääääää", &"\u{1f980}".repeat(128)] {
            assert!(Password::parse(secret(good)).is_ok());
        }
        for bad in ["1234567", "äääää", &"x".repeat(129), "        ", "1234\u{0}5678"] {
            assert!(Password::parse(secret(bad)).is_err());
        }
    }

    #[test]
    fn what_is_hashed_never_changes_or_nobody_could_log_in() {
        // HMAC-SHA-256 of "12345678" under the key "portcullis password v1", in base64.
        assert_eq!(
            prehash(&secret("12345678")).as_slice(),
            b"pscW0sZS5wVVqzct35p8F53j+7/Y4jP0y6H+7pE0ue8="
        );
    }

    #[tokio::test]
    async fn only_the_right_password_of_an_active_user_is_verified() {
        let hasher = PasswordHasher::new(4, 1, 0).unwrap();
        let hash = hashed(&hasher, "12345678").await;
        let verified = hasher
            .verify(Some(user(hash.clone(), true)), secret("12345678"))
            .await
            .unwrap();
        assert!(verified.rehashed.is_none());
        for (user, password) in [
            (Some(user(hash.clone(), true)), "12345679"),
            (Some(user(hash, false)), "12345678"),
            (None, "12345678"),
        ] {
            let refused = hasher.verify(user, secret(password)).await;
            assert!(matches!(refused, Err(IdentityError::WrongCredentials)));
        }
    }

    #[test]
    fn verifying_the_password_of_nobody_costs_as_much_as_any_other() {
        for cost in [4, 9, 12, 31] {
            assert_eq!(cost_of(&PasswordHasher::new(cost, 1, 0).unwrap().dummy), Some(cost));
        }
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_is_made_anew_and_verifies() {
        let (old, new) = (
            PasswordHasher::new(5, 1, 0).unwrap(),
            PasswordHasher::new(4, 1, 0).unwrap(),
        );
        let before = user(hashed(&old, "12345678").await, true);
        let verified = new.verify(Some(before), secret("12345678")).await.unwrap();
        let rehashed = verified.rehashed.unwrap();
        assert_eq!(cost_of(&rehashed), Some(4));
        assert!(new.verify(Some(user(rehashed, true)), secret("12345678")).await.is_ok());
    }

    #[tokio::test]
    async fn beyond_the_queue_nothing_is_hashed() {
        let hasher = PasswordHasher::new(4, 1, 0).unwrap();
        let (release, hold) = std::sync::mpsc::channel::<()>();
        let (started, wait_for_start) = tokio::sync::oneshot::channel();
        let threads = hasher.threads.clone();
        let busy = tokio::spawn(async move {
            threads
                .run(move || {
                    started.send(()).unwrap();
                    hold.recv().unwrap();
                })
                .await
        });
        wait_for_start.await.unwrap();
        let refused = hasher.verify(None, secret("12345678")).await;
        assert!(matches!(refused, Err(IdentityError::Busy(BlockingError::Full(_)))));
        release.send(()).unwrap();
        busy.await.unwrap().unwrap();
        assert!(matches!(
            hasher.verify(None, secret("12345678")).await,
            Err(IdentityError::WrongCredentials)
        ));
    }

    #[test]
    fn a_hash_shown_for_debugging_shows_nothing() {
        assert_eq!(
            format!("{:?}", user(PasswordHash("$2b$".to_owned()), true).password),
            "PasswordHash"
        );
    }
}
