//! The token endpoint, row by row of RFC 6749: who asks, for what, and what is answered.

use std::time::Duration;

use portcullis::role::Role;
use portcullis_token::ClientConfig;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::{ask, create};
use crate::helpers::{Answer, Client, Portcullis, SignedIn, spawn, spawn_with};

const TOKEN: &str = "/oauth/token";
/// The client through which people log in. It has no secret.
const FIRST_PARTY: (&str, &str) = ("client_id", "portcullis");

fn is_unstored(answer: &Answer) {
    assert_eq!(
        (answer.header("cache-control"), answer.header("pragma")),
        ("no-store", "no-cache"),
        "{answer:?}"
    );
}

async fn post(client: &Client, form: &[(&str, &str)]) -> Answer {
    client.send(client.request("POST", TOKEN).form(form)).await
}

/// What a public client sends to refresh the session of `user`.
fn refresh(token: &str) -> [(&str, &str); 3] {
    [FIRST_PARTY, ("grant_type", "refresh_token"), ("refresh_token", token)]
}

fn refused(answer: &Answer, status: u16, error: &str) {
    answer.expect(status, json!({"error": error}));
    is_unstored(answer);
    if status == 401 {
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"clients\"");
    }
}

#[tokio::test]
async fn a_client_without_a_secret_refreshes_somebodys_session() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let user = client.register("ada").await;
    let pair = post(client, &refresh(&user.refresh)).await;
    pair.expect(200, json!({"token_type": "Bearer", "expires_in": 300}));
    is_unstored(&pair);
    let mut members: Vec<String> = pair.json().as_object().unwrap().keys().cloned().collect();
    members.sort();
    assert_eq!(members, ["access_token", "expires_in", "refresh_token", "token_type"]);
    client.home(&pair.field("access_token")).await.expect(200, json!({}));
    // It is the session that the other endpoints know, with the same rules.
    portcullis.clock.advance(Duration::from_secs(11));
    let next = client.refresh(&pair.field("refresh_token")).await;
    let lost = post(client, &refresh(&pair.field("refresh_token"))).await;
    assert_eq!(
        lost.expect(200, json!({})).field("refresh_token"),
        next.field("refresh")
    );
    let reused = post(client, &refresh(&user.refresh)).await;
    refused(&reused, 400, "invalid_grant");
    client.home_becomes(&pair.field("access_token"), 401).await;
}

#[tokio::test]
async fn an_access_token_is_not_said_to_live_longer_than_its_session() {
    let portcullis = spawn_with(|config| {
        config.token.refresh_idle_ttl = Duration::from_mins(10);
        config.token.refresh_absolute_ttl = Duration::from_mins(10);
    })
    .await;
    let user = portcullis.client.register("ada").await;
    portcullis.clock.advance(Duration::from_mins(9));
    let pair = post(&portcullis.client, &refresh(&user.refresh)).await;
    let left = pair.expect(200, json!({})).json()["expires_in"].as_u64().unwrap();
    assert!((58..=60).contains(&left), "{left}");
}

/// What is wrong with a form, and the answer.
type Row<'a> = (&'a [(&'a str, &'a str)], u16, &'a str);

async fn each_is_refused(client: &Client, rows: &[Row<'_>], with: impl Fn(RequestBuilder) -> RequestBuilder) {
    for (form, status, error) in rows {
        let answer = client.send(with(client.request("POST", TOKEN).form(form))).await;
        refused(&answer, *status, error);
    }
}

#[tokio::test]
async fn requests_of_nobody_and_of_a_client_without_a_secret_are_refused_by_their_names() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let user = client.register("ada").await;
    let shown = ("refresh_token", user.refresh.as_str());
    let grant = ("grant_type", "refresh_token");
    let rows: &[Row<'_>] = &[
        (&[], 400, "invalid_request"),
        (&[grant, shown], 401, "invalid_client"),
        (&[("client_id", "unknown"), grant, shown], 401, "invalid_client"),
        (
            &[FIRST_PARTY, ("client_secret", "guessed"), grant, shown],
            401,
            "invalid_client",
        ),
        (&[("client_secret", "guessed"), grant, shown], 400, "invalid_request"),
        (&[FIRST_PARTY], 400, "invalid_request"),
        (&[FIRST_PARTY, ("grant_type", "")], 400, "invalid_request"),
        (&[FIRST_PARTY, grant], 400, "invalid_request"),
        (&[FIRST_PARTY, grant, ("refresh_token", "")], 400, "invalid_request"),
        (&[FIRST_PARTY, grant, shown, shown], 400, "invalid_request"),
        (&[FIRST_PARTY, grant, grant, shown], 400, "invalid_request"),
        (
            &[FIRST_PARTY, grant, ("refresh_token", "nonsense")],
            400,
            "invalid_grant",
        ),
        (
            &[FIRST_PARTY, grant, ("refresh_token", &user.access)],
            400,
            "invalid_grant",
        ),
        (
            &[FIRST_PARTY, grant, shown, ("scope", "tokens:issue")],
            400,
            "invalid_scope",
        ),
        (
            &[FIRST_PARTY, ("grant_type", "client_credentials")],
            400,
            "unauthorized_client",
        ),
        (
            &[FIRST_PARTY, ("grant_type", "password")],
            400,
            "unsupported_grant_type",
        ),
        (
            &[FIRST_PARTY, ("grant_type", "authorization_code")],
            400,
            "unsupported_grant_type",
        ),
    ];
    each_is_refused(client, rows, |request| request).await;
    // Nothing of that rotated or ended anything. Parameters that nobody knows, and empty ones, count for nothing.
    let form = [
        FIRST_PARTY,
        ("client_secret", ""),
        grant,
        shown,
        ("scope", ""),
        ("audience", "x"),
    ];
    let pair = post(client, &form).await;
    pair.expect(200, json!({}));
    client.home(&user.access).await.expect(200, json!({}));
}

#[tokio::test]
async fn requests_of_service_accounts_are_refused_by_their_names() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let user = client.register("ada").await;
    let secret = create(&portcullis, "billing", &["orders:read", "orders:write"]).await;
    let (id, key) = (("client_id", "billing"), ("client_secret", secret.as_str()));
    let credentials = ("grant_type", "client_credentials");
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", user.refresh.as_str()),
    ];
    let in_header: &[Row<'_>] = &[
        (&[], 400, "invalid_request"),
        (&[credentials, key], 400, "invalid_request"),
        (&[credentials, id, key], 400, "invalid_request"),
        (&[credentials, ("client_id", "another")], 400, "invalid_request"),
        (&[credentials, ("scope", "feed:read")], 400, "invalid_scope"),
        (&[credentials, ("scope", "orders:read feed:read")], 400, "invalid_scope"),
        (&refresh, 400, "unauthorized_client"),
        (&[("grant_type", "implicit")], 400, "unsupported_grant_type"),
    ];
    each_is_refused(client, in_header, |request| {
        request.basic_auth("billing", Some(&secret))
    })
    .await;
    let in_body: &[Row<'_>] = &[
        (&[id, ("client_secret", "wrong"), credentials], 401, "invalid_client"),
        (&[id, credentials], 401, "invalid_client"),
        (&[id, key, refresh[0], refresh[1]], 400, "unauthorized_client"),
    ];
    each_is_refused(client, in_body, |request| request).await;
    let broken = ["Basic", "Basic !", "Basic YmlsbGluZw==", "Basic /w=="];
    for header in broken {
        each_is_refused(client, &[(&[credentials], 401, "invalid_client")], |request| {
            request.header("Authorization", header)
        })
        .await;
    }
    // The gateway refuses two such headers by itself.
    let service = Client::of_all(portcullis.urls(Role::Token));
    each_is_refused(&service, &[(&[credentials], 400, "invalid_request")], |request| {
        request
            .basic_auth("billing", Some(&secret))
            .basic_auth("billing", Some(&secret))
    })
    .await;

    let narrowed = [credentials, id, ("scope", "orders:read orders:read")];
    let granted = ask(client, TOKEN, ("billing", &secret), &narrowed).await;
    granted.expect(200, json!({"scope": "orders:read", "refresh_token": null}));
    is_unstored(&granted);
    let all = post(client, &[id, key, credentials]).await;
    all.expect(
        200,
        json!({"scope": "orders:read orders:write", "token_type": "Bearer", "expires_in": 300}),
    );
    client.refresh(&user.refresh).await.expect(200, json!({}));
}

#[tokio::test]
async fn an_id_and_a_secret_are_form_encoded_in_the_header_or_as_they_are() {
    const ID: &str = "billing:eu & co";
    const SECRET: &str = "k+9/AbC=%41 ü&x=1:more-than-32-characters";
    let portcullis = spawn_with(|config| {
        let account = ClientConfig {
            secret: SECRET.into(),
            scopes: Vec::new(),
        };
        config.token.clients.insert(ID.to_owned(), account.clone());
        config.token.clients.insert("raw".to_owned(), account);
    })
    .await;
    let client = &portcullis.client;
    let form = [("grant_type", "client_credentials")];
    let encoded = |text| url::form_urlencoded::byte_serialize(str::as_bytes(text)).collect::<String>();
    for (id, secret) in [
        (encoded(ID), encoded(SECRET)),
        ("raw".to_owned(), encoded(SECRET)),
        ("raw".to_owned(), SECRET.to_owned()),
    ] {
        ask(client, TOKEN, (&id, &secret), &form).await.expect(200, json!({}));
    }
    let body = [form[0], ("client_id", ID), ("client_secret", SECRET)];
    post(client, &body).await.expect(200, json!({}));
    for (id, secret) in [(ID, SECRET), ("raw", "k+9/AbC=A"), ("raw", &encoded(&encoded(SECRET)))] {
        refused(&ask(client, TOKEN, (id, secret), &form).await, 401, "invalid_client");
    }
}

#[tokio::test]
async fn with_an_account_of_its_name_the_first_party_client_has_to_show_its_secret() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let user = client.register("ada").await;
    let secret = create(&portcullis, "portcullis", &[]).await;
    refused(&post(client, &refresh(&user.refresh)).await, 401, "invalid_client");
    let form = refresh(&user.refresh);
    let pair = ask(client, TOKEN, ("portcullis", &secret), &form).await;
    client
        .home(&pair.expect(200, json!({})).field("access_token"))
        .await
        .expect(200, json!({}));
}

async fn revoke(client: &Client, form: &[(&str, &str)]) -> Answer {
    client.send(client.request("POST", "/oauth/revoke").form(form)).await
}

async fn is_over(portcullis: &Portcullis, user: &SignedIn) {
    portcullis.client.home_becomes(&user.access, 401).await;
    portcullis.client.refresh(&user.refresh).await.expect(401, json!({}));
}

#[tokio::test]
async fn a_client_without_a_secret_revokes_peoples_tokens_and_no_services_and_learns_nothing_of_any() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let (ada, bob) = (client.register("ada").await, client.register("bob").await);
    for token in [&ada.refresh, &bob.access, &ada.refresh, "nonsense"] {
        revoke(client, &[FIRST_PARTY, ("token", token)])
            .await
            .expect(200, Value::Null);
    }
    is_over(&portcullis, &ada).await;
    is_over(&portcullis, &bob).await;
    let secret = create(&portcullis, "billing", &[]).await;
    let service = super::service_token(client, ("billing", &secret)).await;
    revoke(client, &[FIRST_PARTY, ("token", &service)])
        .await
        .expect(400, json!({"error": "invalid_grant"}));
    let form = [FIRST_PARTY, ("token", service.as_str())];
    let asked = client
        .send(client.request("POST", "/oauth/introspect").form(&form))
        .await;
    asked.expect(401, json!({"error": "invalid_client"}));
    let own = ask(
        client,
        "/oauth/introspect",
        ("billing", &secret),
        &[("token", &service)],
    )
    .await;
    own.expect(200, json!({"active": true}));
}

#[tokio::test]
async fn the_metadata_says_how_clients_show_who_they_are() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let metadata = client
        .send(client.request("GET", "/.well-known/oauth-authorization-server"))
        .await;
    let (basic, post) = ("client_secret_basic", "client_secret_post");
    metadata.expect(
        200,
        json!({
            "grant_types_supported": ["client_credentials", "refresh_token"],
            "token_endpoint_auth_methods_supported": [basic, post, "none"],
            "revocation_endpoint_auth_methods_supported": [basic, post, "none"],
            "introspection_endpoint_auth_methods_supported": [basic, post],
            "response_types_supported": [],
        }),
    );
}

#[tokio::test]
async fn what_the_other_endpoints_lack_has_its_name() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let secret = create(&portcullis, "billing", &[]).await;
    for path in ["/oauth/introspect", "/oauth/revoke"] {
        for form in [&[][..], &[("token", "")], &[("token", "x"), ("token", "y")]] {
            let answer = ask(client, path, ("billing", &secret), form).await;
            answer.expect(400, json!({"error": "invalid_request"}));
        }
        let answer = ask(client, path, ("billing", "wrong"), &[("token", "x")]).await;
        answer.expect(401, json!({"error": "invalid_client"}));
    }
}
