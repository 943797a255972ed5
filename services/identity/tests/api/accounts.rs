//! What the operator's commands do, beside a running service and without one.

use std::time::Duration;

use portcullis_client::TokenServiceError;
use portcullis_client::wire::Reason;
use portcullis_identity::{Accounts, CreateError, IdentityError, NewUser};
use secrecy::SecretString;
use service_kit::Clock;

use crate::database::TestDatabase;
use crate::helpers::{config, new_user, spawn};
use crate::issuer::{Issuer, Mood};

#[tokio::test]
async fn what_an_operator_mistypes_is_named_field_by_field() {
    let service = spawn().await;
    let accounts = service.accounts().await;
    let new = NewUser {
        username: "x".repeat(256),
        email: "nowhere".to_owned(),
        password: SecretString::from("short"),
        ..new_user("ada")
    };
    let error = accounts.create(new).await.unwrap_err();
    assert!(matches!(error, CreateError::Invalid(_)));
    assert_eq!(
        error.to_string(),
        "username: Ensure this field has no more than 255 characters.\nemail: Enter a valid email address.\n\
         password: Ensure this field has at least 8 characters."
    );
    accounts.create(new_user("ada")).await.unwrap();
    let error = accounts
        .create(NewUser {
            email: "new@example.com".to_owned(),
            ..new_user("ADA")
        })
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        CreateError::Failed(IdentityError::Taken {
            username: true,
            email: false
        })
    ));
    assert_eq!(error.to_string(), "user with this username already exists.");
}

#[tokio::test]
async fn an_account_is_found_by_id_email_and_username() {
    let service = spawn().await;
    let accounts = service.accounts().await;
    let ada = accounts.create(new_user("Ada")).await.unwrap();
    for name in [ada.id.to_string().as_str(), "ADA@example.com", "ada", " Ada "] {
        assert_eq!(accounts.find(name).await.unwrap().unwrap().id, ada.id, "{name}");
    }
    assert!(accounts.find("nobody").await.unwrap().is_none());
}

#[tokio::test]
async fn the_list_goes_on_behind_the_last_one_and_ends() {
    let service = spawn().await;
    let accounts = service.accounts().await;
    accounts.create(new_user("ada")).await.unwrap();
    accounts.create(new_user("grace")).await.unwrap();
    let all = accounts.list(None).await.unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(accounts.list(Some(&all[0])).await.unwrap()[0].id, all[1].id);
    assert!(accounts.list(Some(&all[1])).await.unwrap().is_empty());
}

#[tokio::test]
async fn deactivating_and_deleting_beside_a_running_service_ends_the_sessions() {
    let service = spawn().await;
    let id = service.register("ada").await["user"]["id"].as_str().unwrap().to_owned();
    let accounts = service.accounts().await;
    let ada = accounts.deactivate(id.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((ada.is_active, ada.epoch), (false, 1));
    // The service finds the row by itself: nobody calls `deliver`.
    let first = service.issuer.revocations(1).await.remove(0);
    assert_eq!(
        (first.subject.as_str(), first.epoch, first.reason),
        (id.as_str(), 1, Reason::Deactivated)
    );

    let ada = accounts.activate(id.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((ada.is_active, ada.epoch), (true, 1));
    assert_eq!(
        service.login("ada").await.status,
        200,
        "the epoch that was raised is good for a new session"
    );
    assert!(accounts.delete(id.parse().unwrap()).await.unwrap());
    let second = service.issuer.revocations(2).await.remove(1);
    assert_eq!(
        (second.subject.as_str(), second.epoch, second.reason),
        (id.as_str(), 2, Reason::Deleted)
    );
}

#[tokio::test]
async fn changing_whom_nobody_knows_changes_nothing() {
    let (database, clock) = (TestDatabase::fresh(), Clock::standing());
    let issuer = Issuer::start(clock.clone());
    let accounts = Accounts::open(&config(&database), clock).await.unwrap();
    let ada = accounts.create(new_user("ada")).await.unwrap();
    assert!(accounts.delete(ada.id).await.unwrap());
    assert_eq!(accounts.deliver(&issuer.client()).await.unwrap(), 1);
    assert!(!accounts.delete(ada.id).await.unwrap());
    assert!(accounts.activate(ada.id).await.unwrap().is_none());
    assert!(accounts.deactivate(ada.id).await.unwrap().is_none());
    assert_eq!(accounts.deliver(&issuer.client()).await.unwrap(), 0);
}

#[tokio::test]
async fn what_cannot_be_told_is_kept_until_it_can_be() {
    let service = spawn().await;
    let accounts = service.accounts().await;
    let ada = accounts.create(new_user("ada")).await.unwrap();
    service.issuer.becomes(Mood::Unavailable);
    accounts.deactivate(ada.id).await.unwrap();
    let error = accounts.deliver(&service.issuer.client()).await.unwrap_err();
    assert!(
        matches!(error, IdentityError::Tokens(TokenServiceError::Unavailable(_))),
        "{error}"
    );
    assert!(service.issuer.revoked().is_empty());
    service.issuer.becomes(Mood::Good);
    let told = service.issuer.revocations(1).await;
    assert_eq!(told[0].subject, ada.id.to_string());
}

#[tokio::test]
async fn what_is_refused_is_kept_tried_again_later_and_never_overtaken() {
    let (database, clock) = (TestDatabase::fresh(), Clock::standing());
    let issuer = Issuer::start(clock.clone());
    let tokens = issuer.client();
    // Without a running service, so that nobody else delivers.
    let accounts = Accounts::open(&config(&database), clock.clone()).await.unwrap();
    let ada = accounts.create(new_user("ada")).await.unwrap();
    let grace = accounts.create(new_user("grace")).await.unwrap();

    issuer.becomes(Mood::Refuses);
    accounts.deactivate(ada.id).await.unwrap();
    let error = accounts.deliver(&tokens).await.unwrap_err();
    assert!(
        matches!(error, IdentityError::Tokens(TokenServiceError::Refused(_))),
        "{error}"
    );
    issuer.becomes(Mood::Good);
    clock.advance(Duration::from_millis(1));
    accounts.delete(ada.id).await.unwrap();
    accounts.delete(grace.id).await.unwrap();
    assert_eq!(
        accounts.deliver(&tokens).await.unwrap(),
        1,
        "one user's trouble is not another's"
    );
    assert_eq!(issuer.revoked()[0].subject, grace.id.to_string());

    clock.advance(Duration::from_secs(1));
    assert_eq!(accounts.deliver(&tokens).await.unwrap(), 2);
    let of_ada: Vec<_> = issuer
        .revoked()
        .iter()
        .skip(1)
        .map(|revoked| (revoked.epoch, revoked.reason))
        .collect();
    assert_eq!(of_ada, [(1, Reason::Deactivated), (2, Reason::Deleted)]);
    assert_eq!(accounts.deliver(&tokens).await.unwrap(), 0);
}

#[tokio::test]
async fn an_outbox_of_several_batches_is_emptied_at_once() {
    let (database, clock) = (TestDatabase::fresh(), Clock::standing());
    let issuer = Issuer::start(clock.clone());
    let accounts = Accounts::open(&config(&database), clock).await.unwrap();
    let ada = accounts.create(new_user("ada")).await.unwrap();
    for _ in 0..205 {
        accounts.deactivate(ada.id).await.unwrap();
    }
    assert_eq!(accounts.deliver(&issuer.client()).await.unwrap(), 205);
    assert_eq!(issuer.revoked().iter().map(|revoked| revoked.epoch).max(), Some(205));
}
