//! What somebody who is signed in does with their own account.

use portcullis_client::wire::Reason;
use reqwest::Method;
use serde_json::{Value, json};

use crate::helpers::{Answer, PASSWORD, Service, registration, slowly, spawn};
use crate::issuer::Mood;

const ME: &str = "/api/auth/me";
const PASSWORD_PATH: &str = "/api/auth/password";

async fn call(service: &Service, method: Method, path: &str, token: &str, body: Value) -> Answer {
    service
        .send(service.request(method, path).bearer_auth(token).json(&body))
        .await
}

fn token(registered: &Value) -> &str {
    registered["access"].as_str().unwrap()
}

fn wrong_password() -> Value {
    json!({"current_password": ["The password is not right."]})
}

#[tokio::test]
async fn the_account_is_seen_and_its_names_are_changed() {
    let service = spawn().await;
    let ada = service.register("ada").await;
    let seen = service.get("/api/auth/me/", token(&ada)).await;
    assert_eq!((seen.status.as_u16(), &seen.body), (200, &ada["user"]));

    service.clock.advance(std::time::Duration::from_secs(1));
    let change = json!({"username": "Countess", "is_superuser": true, "id": "x"});
    let changed = call(&service, Method::PATCH, ME, token(&ada), change).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    assert_eq!(
        (
            &changed.body["username"],
            &changed.body["email"],
            &changed.body["is_superuser"]
        ),
        (&json!("Countess"), &json!("ada@example.com"), &json!(false))
    );
    assert_ne!(changed.body["updated"], ada["user"]["updated"]);
    assert_eq!(changed.body["created"], ada["user"]["created"]);
    let login = json!({"username": "countess", "password": PASSWORD});
    assert_eq!(service.post("/token", &login).await.status, 200);
    let unchanged = call(&service, Method::PATCH, ME, token(&ada), json!({})).await;
    assert_eq!((unchanged.status.as_u16(), unchanged.body), (200, changed.body));
}

#[tokio::test]
async fn another_email_address_asks_for_the_password() {
    let service = spawn().await;
    let ada = service.register("ada").await;
    let change = json!({"email": "countess@example.com"});
    let missing = call(&service, Method::PATCH, ME, token(&ada), change).await;
    missing.is_invalid(&json!({"current_password": ["This field is required."]}));
    let change = json!({"email": "countess@example.com", "current_password": "wrong password"});
    let wrong = call(&service, Method::PATCH, ME, token(&ada), change).await;
    wrong.is_invalid(&wrong_password());
    assert_eq!(service.login("countess").await.status, 401);
    let change = json!({"email": "countess@example.com", "current_password": PASSWORD});
    let changed = call(&service, Method::PATCH, ME, token(&ada), change).await;
    assert_eq!(changed.body["email"], "countess@example.com", "{}", changed.text);
    assert_eq!(service.login("countess").await.status, 200);
    assert_eq!(service.login("ada").await.status, 401);
    // The one that it has needs no password.
    let same = json!({"email": "countess@example.com", "username": "ada2"});
    let changed = call(&service, Method::PATCH, ME, token(&ada), same).await;
    assert_eq!(changed.body["username"], "ada2", "{}", changed.text);
}

#[tokio::test]
async fn names_that_are_taken_or_none_are_refused_as_at_registration() {
    let service = spawn().await;
    let (ada, _) = (service.register("ada").await, service.register("grace").await);
    let patch = async |body: Value| call(&service, Method::PATCH, ME, token(&ada), body).await;
    let taken = json!({"username": "GRACE", "email": "Grace@example.com", "current_password": PASSWORD});
    patch(taken).await.is_invalid(&json!({
        "username": ["user with this username already exists."],
        "email": ["user with this email already exists."],
    }));
    patch(json!({"username": "", "email": "nonsense"}))
        .await
        .is_invalid(&json!({
            "username": ["This field may not be blank."],
            "email": ["Enter a valid email address."],
        }));
    patch(json!({"username": null, "current_password": []}))
        .await
        .is_invalid(&json!({
            "username": ["This field may not be null."],
            "current_password": ["Not a valid string."],
        }));
    let seen = service.get(ME, token(&ada)).await;
    assert_eq!(seen.body, ada["user"]);
}

#[tokio::test]
async fn another_password_ends_every_session_but_the_callers() {
    let service = spawn().await;
    let ada = service.register("ada").await;
    let change = json!({"current_password": PASSWORD, "new_password": "correct horse battery"});
    let changed = call(&service, Method::POST, PASSWORD_PATH, token(&ada), change.clone()).await;
    assert_eq!((changed.status.as_u16(), changed.text.as_str()), (204, ""));
    // The answer came after the token service had been told.
    let told = service.issuer.revoked();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].reason, told[0].epoch), (Reason::PasswordChanged, 1));
    assert_eq!(told[0].subject, ada["user"]["id"].as_str().unwrap());
    assert_eq!(told[0].except.as_deref(), Some(sid(token(&ada)).as_str()));
    assert_eq!(service.login("ada").await.status, 401);
    let login = json!({"email": "ada@example.com", "password": "correct horse battery"});
    assert_eq!(service.post("/api/auth/login", &login).await.status, 200);
    let again = call(&service, Method::POST, PASSWORD_PATH, token(&ada), change).await;
    again.is_invalid(&wrong_password());
}

fn sid(token: &str) -> String {
    use base64::Engine;
    let payload = token.split('.').nth(1).unwrap();
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    claims["sid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_copied_token_neither_changes_the_password_nor_ends_the_account() {
    let service = spawn().await;
    let ada = service.register("ada").await;
    for (method, path, body) in [
        (
            Method::POST,
            PASSWORD_PATH,
            json!({"current_password": "a guess of mine", "new_password": "something else"}),
        ),
        (Method::DELETE, ME, json!({"current_password": "a guess of mine"})),
    ] {
        let refused = call(&service, method, path, token(&ada), body).await;
        refused.is_invalid(&wrong_password());
    }
    for (method, path, missing) in [
        (
            Method::POST,
            PASSWORD_PATH,
            json!({"current_password": ["This field is required."], "new_password": ["This field is required."]}),
        ),
        (
            Method::DELETE,
            ME,
            json!({"current_password": ["This field is required."]}),
        ),
    ] {
        let refused = call(&service, method, path, token(&ada), json!({})).await;
        refused.is_invalid(&missing);
    }
    let weak = json!({"current_password": PASSWORD, "new_password": "1234567"});
    let refused = call(&service, Method::POST, PASSWORD_PATH, token(&ada), weak).await;
    refused.is_invalid(&json!({"new_password": ["Ensure this field has at least 8 characters."]}));
    assert_eq!(service.login("ada").await.status, 200);
    assert!(service.issuer.revoked().is_empty());
}

#[tokio::test]
async fn an_account_that_its_owner_deletes_is_gone_with_its_sessions() {
    let service = spawn().await;
    let ada = service.register("ada").await;
    let body = json!({"current_password": PASSWORD});
    let deleted = call(&service, Method::DELETE, ME, token(&ada), body).await;
    assert_eq!((deleted.status.as_u16(), deleted.text.as_str()), (204, ""));
    let told = service.issuer.revoked();
    assert_eq!(
        (told.len(), told[0].reason, &told[0].except),
        (1, Reason::Deleted, &None)
    );
    let gone = service.get(ME, token(&ada)).await;
    gone.is_problem(401, "user_not_found", "User not found");
    assert_eq!(service.login("ada").await.status, 401);
    assert_eq!(
        service.post("/api/auth/register", &registration("ada")).await.status,
        201
    );
}

#[tokio::test]
async fn without_the_token_service_a_new_password_counts_and_sessions_end_when_it_is_back() {
    let service = spawn().await;
    let ada = service.register("ada").await;
    service.issuer.becomes(Mood::Unavailable);
    let change = json!({"current_password": PASSWORD, "new_password": "correct horse battery"});
    let changed = call(&service, Method::POST, PASSWORD_PATH, token(&ada), change).await;
    assert_eq!(changed.status, 204, "{}", changed.text);
    assert!(service.issuer.revoked().is_empty());
    service.issuer.becomes(Mood::Good);
    let told = service.issuer.revocations(1).await;
    assert_eq!(told[0].reason, Reason::PasswordChanged);
}

#[tokio::test]
async fn only_somebody_who_is_signed_in_learns_what_is_allowed() {
    let service = spawn().await;
    let ada = service.register("ada").await;
    for (path, allow) in [(ME, "GET, HEAD, PATCH, DELETE"), (PASSWORD_PATH, "POST")] {
        let anonymous = service.send(service.request(Method::PUT, path)).await;
        anonymous.is_problem(
            401,
            "not_authenticated",
            "Authentication credentials were not provided.",
        );
        let answer = call(&service, Method::PUT, path, token(&ada), json!({})).await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, allow));
    }
}

#[tokio::test]
async fn a_browser_gets_its_refresh_token_in_a_cookie_and_nowhere_else() {
    let service = spawn().await;
    let by_cookie = async |path: &str, body: Value| {
        let request = service.request(Method::POST, path).header("x-token-delivery", "cookie");
        service.send(request.json(&body)).await
    };
    let registered = by_cookie("/api/auth/register", registration("ada")).await;
    let login = json!({"email": "ada@example.com", "username": "ada", "password": PASSWORD});
    for answer in [
        registered,
        by_cookie("/api/auth/login", login.clone()).await,
        by_cookie("/token", login.clone()).await,
    ] {
        assert!(answer.status.is_success(), "{}", answer.text);
        assert!(answer.body["access"].is_string() && answer.body["user"].is_object());
        assert!(
            !answer.text.contains("refresh") && !answer.text.contains("pcr_"),
            "{}",
            answer.text
        );
        let cookie = answer.header("set-cookie");
        assert!(cookie.starts_with("__Host-portcullis-refresh=pcr_"), "{cookie}");
        assert!(
            cookie.ends_with("; HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=86400"),
            "{cookie}"
        );
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let by_body = service.post("/api/auth/login", &login).await;
    assert_eq!(
        (by_body.header("set-cookie"), by_body.body["refresh"].is_string()),
        ("", true)
    );
    let request = service
        .request(Method::POST, "/token")
        .header("x-token-delivery", "pigeon");
    let refused = service.send(request.json(&login)).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["code"]),
        (400, &json!("bad_delivery"))
    );
}

#[tokio::test]
async fn a_request_that_was_kept_open_is_not_carried_out_for_whom_the_caller_was() {
    let service = spawn().await;
    let (ada, thief) = (service.register("ada").await, service.login("ada").await);
    let thiefs = thief.body["access"].as_str().unwrap();
    let body = json!({"current_password": PASSWORD, "email": "thief@example.com"}).to_string();
    let (rename, finish_rename) = slowly(service.request(Method::PATCH, ME).bearer_auth(thiefs), &body);
    let (delete, finish_delete) = slowly(service.request(Method::DELETE, ME).bearer_auth(thiefs), &body);
    let kept_open = async { tokio::join!(service.send(rename), service.send(delete)) };
    let meanwhile = async {
        let change = json!({"current_password": PASSWORD, "new_password": "correct horse battery"});
        let changed = call(&service, Method::POST, PASSWORD_PATH, token(&ada), change).await;
        assert_eq!(changed.status, 204, "{}", changed.text);
        finish_rename.send(()).unwrap();
        finish_delete.send(()).unwrap();
    };
    let ((renamed, deleted), ()) = tokio::join!(kept_open, meanwhile);
    // The issuer of these tests forgets no session, so that only what the account has become stands in the way.
    renamed.is_invalid(&wrong_password());
    deleted.is_invalid(&wrong_password());
    assert_eq!(service.get(ME, token(&ada)).await.body["email"], "ada@example.com");
}
