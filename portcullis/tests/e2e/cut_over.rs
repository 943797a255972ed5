//! Moving from djangorestframework-simplejwt: its refresh tokens are exchanged for sessions, once each, for a while.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use portcullis::role::Role;
use portcullis_identity::Accounts;
use portcullis_test_servers::on_servers;
use portcullis_token::legacy::LegacyConfig;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::helpers::{Answer, Client, PASSWORD, Portcullis, SignedIn, spawn, spawn_with};
use crate::process::{Place, Process};

/// Django's, as `startproject` makes it.
const SECRET: &str = "django-insecure-0123456789abcdef0123456789abcdef";
/// For how long tokens are exchanged.
const OPEN: Duration = Duration::from_hours(1);

/// Everything, with tokens exchanged for as long as [`OPEN`]; Ada was known there as 5.
async fn spawn_beside_django() -> (Portcullis, SignedIn) {
    let mut portcullis = spawn_with(|config| {
        config.token.legacy = Some(LegacyConfig {
            secret: SECRET.into(),
            until: service_kit::Clock::system().now() + OPEN,
            issuer: None,
            audience: None,
            user_claim: "user_id".to_owned(),
            identity_url: "http://127.0.0.1:8001".to_owned(),
            identity: std::sync::Arc::default(),
        });
    })
    .await;
    if on_servers() {
        // Where each role is alone, it is told where the others are.
        let identity = portcullis.urls(Role::Identity)[0].clone();
        portcullis.stop(Role::Token).await;
        portcullis.reconfigure(Role::Token, |config| {
            config.token.legacy.as_mut().unwrap().identity_url.clone_from(&identity);
        });
        portcullis.start(Role::Token).await;
    }
    let ada = portcullis.client.register("ada").await;
    known_as(&portcullis, "ada@example.com", "5").await;
    (portcullis, ada)
}

async fn known_as(portcullis: &Portcullis, account: &str, id: &str) {
    let accounts = Accounts::open(&portcullis.config.identity, portcullis.clock.clone());
    let line = (1, account.to_owned(), id.to_owned());
    let mistakes = accounts.await.unwrap().set_legacy_ids([line]).await.unwrap();
    assert!(mistakes.is_empty(), "{mistakes:?}");
}

/// What simplejwt signs for the user 5, with these claims instead; null takes one away.
fn token_with(portcullis: &Portcullis, algorithm: Algorithm, secret: &str, changes: &Value) -> String {
    let now = portcullis.clock.now().as_second();
    let mut claims = json!({
        "token_type": "refresh",
        "exp": now + 86_400,
        "iat": now,
        "jti": service_kit::random::hex(&service_kit::random::bytes::<16>()),
        "user_id": 5,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).unwrap()
}

fn token(portcullis: &Portcullis, changes: &Value) -> String {
    token_with(portcullis, Algorithm::HS256, SECRET, changes)
}

fn signed_in(id: &str, answer: &Answer) -> SignedIn {
    SignedIn {
        id: id.to_owned(),
        access: answer.field("access"),
        refresh: answer.field("refresh"),
    }
}

async fn sessions(client: &Client, access: &str) -> Vec<Value> {
    let answer = client.get("/api/auth/sessions", access).await;
    answer.expect(200, json!(null)).json().as_array().unwrap().clone()
}

#[track_caller]
fn refused(answer: &Answer) {
    answer.expect(401, json!({"code": "token_not_valid"}));
}

#[tokio::test]
async fn a_token_of_simplejwt_is_exchanged_for_a_session_like_any_other() {
    let (portcullis, ada) = spawn_beside_django().await;
    let client = &portcullis.client;
    for path in ["/api/auth/refresh", "/token/refresh"] {
        let shown = json!({"refresh": token(&portcullis, &json!({}))});
        let request = client.request("POST", path).header("User-Agent", "an old app");
        let answer = client.send(request.json(&shown)).await;
        answer.expect(200, json!({}));
        assert!(answer.field("refresh").starts_with("pcr_"), "{answer:?}");
        let session = signed_in(&ada.id, &answer);
        let me = client.get("/api/auth/me", &session.access).await;
        me.expect(200, json!({"id": ada.id, "username": "ada"}));
        client.home(&session.access).await.expect(200, json!({}));
        let listed = sessions(client, &session.access).await;
        let current = listed.iter().find(|session| session["current"] == json!(true)).unwrap();
        assert_eq!(current["user_agent"], json!("an old app"), "{listed:?}");

        portcullis.clock.advance(Duration::from_mins(1));
        let next = client.refresh(&session.refresh).await;
        next.expect(200, json!({}));
        assert_ne!(next.field("refresh"), session.refresh);
        let next = signed_in(&ada.id, &next);
        client.logout(&next).await.expect(205, json!(null));
        client.home_becomes(&next.access, 401).await;
        refused(&client.refresh(&next.refresh).await);
    }
    // A user whose id was kept needs no other.
    let bob = client.register("bob").await;
    let answer = client.refresh(&token(&portcullis, &json!({"user_id": bob.id}))).await;
    answer.expect(200, json!({}));
    let me = client.get("/api/auth/me", &answer.field("access")).await;
    me.expect(200, json!({"id": bob.id}));
}

#[tokio::test]
async fn a_token_of_simplejwt_that_many_show_at_once_opens_one_session() {
    let (portcullis, ada) = spawn_beside_django().await;
    let client = &portcullis.client;
    let legacy = token(&portcullis, &json!({}));
    let answers = client.refresh_all_at_once(&legacy, 12).await;
    for answer in &answers {
        answer.expect(200, json!({}));
        assert_eq!(answer.field("refresh"), answers[0].field("refresh"));
    }
    assert_eq!(sessions(client, &answers[0].field("access")).await.len(), 2);

    // A reply that was lost is given again, and what it replaces is dead.
    portcullis.clock.advance(Duration::from_mins(1));
    let again = client.refresh(&legacy).await;
    again.expect(200, json!({}));
    assert_ne!(again.field("refresh"), answers[0].field("refresh"));
    assert_eq!(sessions(client, &again.field("access")).await.len(), 2);

    // Whoever shows it much later has a copy: the session ends, and no other.
    portcullis.clock.advance(Duration::from_mins(6));
    refused(&client.refresh(&legacy).await);
    refused(&client.refresh(&again.field("refresh")).await);
    client.refresh(&ada.refresh).await.expect(200, json!({}));
}

#[tokio::test]
async fn what_is_no_good_refresh_token_of_simplejwt_is_exchanged_for_nothing() {
    let (portcullis, ada) = spawn_beside_django().await;
    let client = &portcullis.client;
    let now = portcullis.clock.now().as_second();
    let payload = token(&portcullis, &json!({})).split('.').nth(1).unwrap().to_owned();
    let unsigned = format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#));
    let other = "another secret of at least 32 characters";
    for wrong in [
        unsigned,
        token_with(&portcullis, Algorithm::HS256, other, &json!({})),
        token_with(&portcullis, Algorithm::HS512, SECRET, &json!({})),
        token(&portcullis, &json!({"token_type": "access"})),
        token(&portcullis, &json!({"exp": now})),
        token(&portcullis, &json!({"jti": null})),
        token(&portcullis, &json!({"user_id": 6})),
        token(&portcullis, &json!({"user_id": "5' OR '1'='1"})),
    ] {
        refused(&client.refresh(&wrong).await);
    }
    let form = json!({"grant_type": "refresh_token", "client_id": "portcullis",
        "refresh_token": token(&portcullis, &json!({}))});
    let request = client.request("POST", "/oauth/token").form(&form);
    client
        .send(request)
        .await
        .expect(400, json!({"error": "invalid_grant"}));
    assert_eq!(sessions(client, &ada.access).await.len(), 1);
}

#[tokio::test]
async fn when_the_time_has_passed_or_was_never_set_nothing_of_simplejwt_is_exchanged() {
    let (portcullis, _) = spawn_beside_django().await;
    let client = &portcullis.client;
    portcullis.clock.advance(OPEN);
    refused(&client.refresh(&token(&portcullis, &json!({}))).await);

    let portcullis = spawn().await;
    let ada = portcullis.client.register("ada").await;
    known_as(&portcullis, &ada.id, "5").await;
    refused(&portcullis.client.refresh(&token(&portcullis, &json!({}))).await);
}

#[tokio::test]
async fn what_ends_all_sessions_of_an_account_ends_its_tokens_of_simplejwt_too() {
    let (portcullis, ada) = spawn_beside_django().await;
    let client = &portcullis.client;
    let root = portcullis.superuser("root").await;
    let (bob, eve) = (client.register("bob").await, client.register("eve").await);
    known_as(&portcullis, "bob", "6").await;
    known_as(&portcullis, "eve", "7").await;
    let exchanged = client.refresh(&token(&portcullis, &json!({}))).await;
    exchanged.expect(200, json!({}));

    let change = json!({"current_password": PASSWORD, "new_password": "another horse"});
    let request = client.request("POST", "/api/auth/password").bearer_auth(&ada.access);
    client.send(request.json(&change)).await.expect(204, json!(null));
    let request = client.request("PATCH", &format!("/api/admin/users/{}", bob.id));
    let request = request.bearer_auth(&root.access).json(&json!({"is_active": false}));
    client.send(request).await.expect(200, json!({}));
    let request = client.request("DELETE", &format!("/api/admin/users/{}/sessions", eve.id));
    client
        .send(request.bearer_auth(&root.access))
        .await
        .expect(204, json!(null));

    client.home_becomes(&exchanged.field("access"), 401).await;
    for id in [5, 6, 7] {
        refused(&client.refresh(&token(&portcullis, &json!({"user_id": id}))).await);
    }
}

#[tokio::test]
async fn a_token_of_simplejwt_logs_out_and_is_spent_by_it() {
    let (portcullis, ada) = spawn_beside_django().await;
    let client = &portcullis.client;
    // Before it was ever exchanged.
    let legacy = token(&portcullis, &json!({}));
    let logout = client.post("/api/auth/logout", json!({"refresh": legacy})).await;
    logout.expect(205, json!(null));
    refused(&client.refresh(&legacy).await);

    // And after: a frontend that refreshes for the sake of logging out shows the token that it had before.
    let legacy = token(&portcullis, &json!({}));
    let exchanged = client.refresh(&legacy).await;
    let user = SignedIn {
        refresh: legacy.clone(),
        ..signed_in(&ada.id, &exchanged)
    };
    client.logout(&user).await.expect(205, json!(null));
    client.home_becomes(&user.access, 401).await;
    refused(&client.refresh(&exchanged.field("refresh")).await);
    refused(&client.refresh(&legacy).await);

    // Another one's token logs nobody out.
    let bob = client.register("bob").await;
    let anothers = SignedIn {
        refresh: token(&portcullis, &json!({})),
        ..bob
    };
    client.logout(&anothers).await.expect(403, json!({}));
    client.refresh(&anothers.refresh).await.expect(200, json!({}));
    client.refresh(&ada.refresh).await.expect(200, json!({}));
}

#[tokio::test]
async fn without_identity_a_token_of_simplejwt_is_kept_for_later() {
    let (mut portcullis, _) = spawn_beside_django().await;
    let client = portcullis.client.clone();
    let legacy = token(&portcullis, &json!({}));
    portcullis.kill(Role::Identity).await;
    let answer = client.refresh(&legacy).await;
    answer.expect(503, json!({"code": "identity_unavailable"}));
    assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
    refused(&client.refresh(&token(&portcullis, &json!({"exp": 1}))).await);
    portcullis.start(Role::Identity).await;
    client.refresh(&legacy).await.expect(200, json!({}));
}

#[tokio::test]
async fn the_key_of_simplejwt_opens_nothing_but_the_exchange() {
    let (portcullis, _) = spawn_beside_django().await;
    let client = &portcullis.client;
    let account = &portcullis.config.identity;
    let secret = account.client_secret.expose_secret();
    let config = &portcullis.config.token;
    for changes in [
        json!({"token_type": "access"}),
        json!({}),
        // As much like one of ours as that key can make it.
        json!({"token_type": "access", "iss": config.issuer, "aud": config.audience, "sub": "5", "client_id": "portcullis",
            "scope": "users:legacy tokens:issue tokens:revoke feed:read", "roles": ["superuser"]}),
    ] {
        let shown = token(&portcullis, &changes);
        for path in ["/home", "/api/auth/me", "/api/auth/sessions", "/api/user"] {
            refused(&client.get(path, &shown).await);
        }
        for (role, method, path) in [
            (Role::Token, "GET", "/internal/feed"),
            (Role::Token, "POST", "/internal/sessions"),
            (Role::Identity, "POST", "/internal/legacy-user"),
        ] {
            let service = Client::of_all(portcullis.urls(role));
            let request = service.request(method, path).bearer_auth(&shown).json(&json!({}));
            refused(&service.send(request).await);
        }
        let request = client.request("POST", "/oauth/introspect");
        let request = request
            .basic_auth(&account.client_id, Some(secret))
            .form(&[("token", &shown)]);
        let told = client.send(request).await;
        told.expect(200, json!({"active": false}));
    }
}

#[tokio::test]
async fn who_somebody_was_is_told_to_the_token_service_alone() {
    let (portcullis, ada) = spawn_beside_django().await;
    let asked = json!({"user_id": "5"});
    let path = "/internal/legacy-user";
    let request = portcullis
        .client
        .request("POST", path)
        .bearer_auth(&ada.access)
        .json(&asked);
    portcullis
        .client
        .send(request)
        .await
        .expect(404, json!({"code": "not_found"}));

    let identity = Client::of_all(portcullis.urls(Role::Identity));
    let ask = |bearer: &str| identity.send(identity.request("POST", path).bearer_auth(bearer).json(&asked));
    ask(&ada.access).await.expect(401, json!({"code": "token_not_valid"}));
    let account = &portcullis.config.identity;
    let granted = portcullis.client.request("POST", "/oauth/token");
    let granted = granted.basic_auth(&account.client_id, Some(account.client_secret.expose_secret()));
    let granted = portcullis
        .client
        .send(granted.form(&[("grant_type", "client_credentials")]));
    let another = granted.await.field("access_token");
    let answer = ask(&another).await;
    let said = (answer.status.as_u16(), answer.field("code"));
    assert_eq!(said, (403, "insufficient_scope".to_owned()));
}

#[tokio::test]
async fn an_operator_says_from_a_file_what_accounts_were_known_by() {
    let place = Place::new();
    let process = Process::start(&place).await;
    for name in ["ada", "bob"] {
        process.client.register(name).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ids.csv");
    let run = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let output = place
            .command()
            .args(["users", "legacy-ids"])
            .arg(&file)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (done, said) = run("ada@example.com,5\n\"BOB\", 6\n");
    assert!(done && said.contains("2 accounts"), "{said}");
    // They may change hands.
    let (done, said) = run("ada,6\nbob,5\n");
    assert!(done, "{said}");
    let (done, said) = run("ada,7\nnobody,8\nADA@example.com,9\nbob,7\n");
    assert!(!done && said.contains("nothing was changed"), "{said}");
    for part in [
        "line 2: there is no account",
        "line 3: the account",
        "line 4: the id \"7\"",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let (done, said) = run("ada,5\n");
    assert!(
        !done && said.contains("line 1: the id \"5\" belongs to another account"),
        "{said}"
    );
    for text in ["ada\n", "ada,5\nbob,6,7\n"] {
        let (done, said) = run(text);
        assert!(!done && said.contains("line"), "{said}");
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_exchange_is_refused_with_the_key_and_the_remedy() {
    let place = Place::new()
        .with("PORTCULLIS_TOKEN__LEGACY__UNTIL", "2030-01-01T00:00:00Z")
        .with("PORTCULLIS_TOKEN__LEGACY__SECRET", "short");
    let output = place.command().args(["check", "token"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    for part in [
        "token.legacy.secret",
        "32 characters",
        "PORTCULLIS_TOKEN__LEGACY__SECRET_FILE",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let place = place
        .with("PORTCULLIS_TOKEN__ROOT_SECRET", SECRET)
        .with("PORTCULLIS_TOKEN__LEGACY__SECRET", SECRET);
    let output = place.command().args(["check", "token"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && said.contains("is the same as token.root_secret"),
        "{said}"
    );
    let place = place.with("PORTCULLIS_TOKEN__LEGACY__UNTIL", "next week");
    let output = place.command().args(["check", "token"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && said.contains("PORTCULLIS_TOKEN__LEGACY__UNTIL"),
        "{said}"
    );
}
