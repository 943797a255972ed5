//! Telling the token service what it must know: at least once, in order for each user, until it has answered.

use std::collections::HashSet;
use std::time::Duration;

use portcullis_client::{TokenClient, TokenServiceError};

use crate::IdentityError;
use crate::store::{Pending, UserStore};

/// How often the outbox is looked into when nothing calls for it: the operator's commands fill it from another process.
const INTERVAL: Duration = Duration::from_secs(1);
/// The longest pause while the token service cannot be reached.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause before a row that was refused is tried again.
const LONGEST_POSTPONEMENT: Duration = Duration::from_secs(30);

/// Tells everything that is due, and how many rows that were. Safe to run in several processes at once: telling twice
/// changes nothing.
///
/// # Errors
/// At the first row when the token service or the database cannot be reached; after the last one when one was refused.
pub(crate) async fn deliver(users: &UserStore, tokens: &TokenClient) -> Result<usize, IdentityError> {
    let _turn = users.turn_to_deliver().await;
    let (mut told, mut refusal, mut last) = (0, None, None);
    // Whoever has an earlier row that is not told yet.
    let mut held = HashSet::new();
    loop {
        let rows = users.pending(last.as_ref()).await?;
        if rows.is_empty() {
            return refusal.map_or(Ok(told), Err);
        }
        for row in rows {
            if held.contains(&row.subject) || row.next_attempt > users.now() {
                held.insert(row.subject.clone());
            } else {
                match tell(&row, tokens).await {
                    Ok(()) => {
                        users.told(&row).await?;
                        told += 1;
                    }
                    Err(error @ IdentityError::Tokens(TokenServiceError::Unavailable(_))) => return Err(error),
                    Err(error) => {
                        log::error!(user_id = row.subject.as_str(), cause = error.to_string().as_str();
                            "the token service does not accept the end of a user's sessions; it will be asked again");
                        users.postpone(&row, postponement(row.attempts)).await?;
                        held.insert(row.subject.clone());
                        refusal = Some(error);
                    }
                }
            }
            last = Some(row);
        }
    }
}

/// How long somebody who has changed an account waits for the token service to know.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tells everything that is due before the one who made it due is answered, so that whatever had to end has ended then.
/// When the token service is away the rows stay, and [`work`] goes on with them.
pub(crate) async fn deliver_now(users: &UserStore, tokens: &TokenClient) {
    match tokio::time::timeout(PATIENCE, deliver(users, tokens)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => log::warn!(cause = error.to_string().as_str(); "sessions that must end have not ended yet"),
        Err(_) => log::warn!("sessions that must end have not ended yet: the token service takes too long"),
    }
}

async fn tell(row: &Pending, tokens: &TokenClient) -> Result<(), IdentityError> {
    match tokens.revoke_subject(&row.request()?).await {
        // A newer epoch is known there already, and whatever this row would end has ended.
        Ok(_) | Err(TokenServiceError::StaleEpoch) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn postponement(attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts).unwrap_or(0).min(5);
    (INTERVAL * 2_u32.pow(doublings)).min(LONGEST_POSTPONEMENT)
}

/// Empties the outbox, for as long as it is let.
pub(crate) async fn work(users: UserStore, tokens: TokenClient) {
    let mut pause = INTERVAL;
    loop {
        match deliver(&users, &tokens).await {
            // What was refused has its own pause, kept in the row.
            Ok(_) | Err(IdentityError::Tokens(TokenServiceError::Refused(_))) => pause = INTERVAL,
            Err(error) => {
                let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                log::warn!(cause = cause.as_str(); "the outbox could not be emptied; trying again in {} s", pause.as_secs());
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        tokio::select! {
            () = users.outbox_filled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
