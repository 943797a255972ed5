//! Accounts that are changed over HTTP, and what becomes of their sessions at the gates.

use serde_json::{Value, json};

use crate::helpers::{Answer, Client, PASSWORD, SignedIn, spawn};

const NEW_PASSWORD: &str = "battery staple";

async fn call(client: &Client, method: &str, path: &str, user: &SignedIn, body: Value) -> Answer {
    let request = client.request(method, path).bearer_auth(&user.access);
    client.send(request.json(&body)).await
}

/// Neither its access token nor its refresh token opens anything, at any gateway.
async fn is_over(client: &Client, session: &SignedIn, code: &str) {
    client
        .home_becomes(&session.access, 401)
        .await
        .expect(401, json!({ "code": code }));
    assert_eq!(client.refresh(&session.refresh).await.status, 401);
}

#[tokio::test]
async fn a_new_password_signs_everybody_out_but_the_one_who_gave_it() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let (here, there) = (client.register("ada").await, client.login("ada").await);
    let bystander = client.register("grace").await;
    for password in ["first change", NEW_PASSWORD] {
        let current = if password == NEW_PASSWORD {
            "first change"
        } else {
            PASSWORD
        };
        let body = json!({"current_password": current, "new_password": password});
        let changed = call(client, "POST", "/api/auth/password/", &here, body).await;
        changed.expect(204, Value::Null);
    }
    is_over(client, &there, "token_not_valid").await;
    // This session goes on, and is ended like any other by what comes later.
    client.home(&here.access).await.expect(200, json!({}));
    let renewed = client.refresh(&here.refresh).await;
    renewed.expect(200, json!({}));
    client.home(&bystander.access).await.expect(200, json!({}));
    client
        .try_login("ada")
        .await
        .expect(401, json!({"code": "no_active_account"}));
    let again = client
        .post("/token", json!({"username": "ada", "password": NEW_PASSWORD}))
        .await;
    again.expect(200, json!({}));

    let root = portcullis.superuser("root").await;
    let path = format!("/api/admin/users/{}", here.id);
    let closed = call(client, "PATCH", &path, &root, json!({"is_active": false})).await;
    closed.expect(200, json!({"is_active": false}));
    client
        .home_becomes(&renewed.field("access"), 401)
        .await
        .expect(401, json!({"code": "user_inactive"}));
    client.home_becomes(&again.field("access"), 401).await;
    client
        .refresh(&renewed.field("refresh"))
        .await
        .expect(401, json!({"code": "no_active_account"}));
}

#[tokio::test]
async fn an_account_that_its_owner_deletes_opens_nothing_any_more() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let (here, there) = (client.register("ada").await, client.login("ada").await);
    let body = json!({"current_password": PASSWORD});
    let deleted = call(client, "DELETE", "/api/auth/me/", &here, body).await;
    deleted.expect(204, Value::Null);
    is_over(client, &here, "user_not_found").await;
    is_over(client, &there, "user_not_found").await;
    assert_ne!(client.register("ada").await.id, here.id);
}

#[tokio::test]
async fn a_superuser_changes_roles_and_services_hear_of_it() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let root = portcullis.superuser("root").await;
    let ada = client.register("ada").await;
    let path = format!("/api/admin/users/{}/", ada.id);
    let promoted = call(
        client,
        "PATCH",
        &path,
        &root,
        json!({"is_superuser": true, "roles": ["editor"]}),
    )
    .await;
    promoted.expect(200, json!({"is_superuser": true, "roles": ["editor"]}));
    client.home(&ada.access).await.expect(200, json!({}));
    let promoted = client.login("ada").await;
    client.get("/api/user", &promoted.access).await.expect(200, json!({}));
    let demoted = call(client, "PATCH", &path, &root, json!({"is_superuser": false})).await;
    demoted.expect(200, json!({"is_superuser": false, "roles": ["editor"]}));
    is_over(client, &promoted, "token_not_valid").await;
    is_over(client, &ada, "token_not_valid").await;
    let ordinary = client.login("ada").await;
    client.get("/api/user", &ordinary.access).await.expect(403, json!({}));
    let deleted = call(client, "DELETE", &path, &root, Value::Null).await;
    deleted.expect(204, Value::Null);
    is_over(client, &ordinary, "user_not_found").await;
}

#[tokio::test]
async fn the_own_account_is_seen_and_changed_through_the_gateway() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let ada = client.register("ada").await;
    client.get("/api/auth/me/", &ada.access).await.expect(
        200,
        json!({"id": ada.id, "username": "ada", "is_superuser": false, "roles": []}),
    );
    let changed = call(client, "PATCH", "/api/auth/me", &ada, json!({"username": "countess"})).await;
    changed.expect(200, json!({"id": ada.id, "username": "countess"}));
    for (method, path) in [
        ("GET", "/api/auth/me"),
        ("PATCH", "/api/auth/me"),
        ("DELETE", "/api/auth/me"),
        ("POST", "/api/auth/password"),
        ("PATCH", "/api/admin/users/x"),
    ] {
        let anonymous = client.send(client.request(method, path)).await;
        anonymous.expect(401, json!({"code": "not_authenticated"}));
    }
}
