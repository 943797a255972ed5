//! All sessions of somebody, ended by an administrator.

use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use super::{delete, goes_on, is_over, list};
use crate::helpers::spawn;

#[tokio::test]
async fn a_superuser_ends_all_sessions_of_somebody_who_may_log_in_again_at_once() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let root = portcullis.superuser("root").await;
    let (phone, laptop) = (client.register("ada").await, client.login("ada").await);
    let bystander = client.register("bob").await;
    for gateway in client.each() {
        gateway.home(&phone.access).await.expect(200, json!({}));
    }
    let path = format!("/api/admin/users/{}/sessions", phone.id);
    delete(client, &path, &bystander)
        .await
        .expect(403, json!({"code": "permission_denied"}));
    goes_on(client, &laptop).await;

    delete(client, &path, &root).await.expect(204, Value::Null);
    let again = client.login("ada").await;
    for session in [phone, laptop] {
        is_over(client, &session).await;
    }
    for session in [&again, &bystander, &root] {
        goes_on(client, session).await;
    }
    assert_eq!(list(client, &again).await.len(), 1);
    // Also twice, and also those of nobody who is signed in.
    for _ in 0..2 {
        delete(client, &path, &root).await.expect(204, Value::Null);
    }
    is_over(client, &again).await;
    goes_on(client, &client.login("ada").await).await;
}

#[tokio::test]
async fn a_superuser_may_end_their_own_sessions_and_with_them_the_one_that_asks() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let (here, there) = (portcullis.superuser("root").await, client.login("root").await);
    let path = format!("/api/admin/users/{}/sessions/", here.id);
    delete(client, &path, &here).await.expect(204, Value::Null);
    for session in [&here, &there] {
        is_over(client, session).await;
    }
    delete(client, &path, &here).await.expect(401, json!({}));
    delete(client, &path, &client.login("root").await)
        .await
        .expect(204, Value::Null);
}

/// Of logins and ends at the same time every session that is open afterwards was opened by a login that came after.
#[tokio::test]
async fn what_logs_in_beside_the_end_of_all_sessions_ends_or_comes_after() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let root = portcullis.superuser("root").await;
    let ada = client.register("ada").await;
    let path = format!("/api/admin/users/{}/sessions", ada.id);
    for _ in 0..5 {
        let logins = join_all((0..4).map(|_| client.try_login("ada")));
        let (logins, ended) = join(logins, delete(client, &path, &root)).await;
        ended.expect(204, Value::Null);
        // One that read the account before and came too late is refused, and may try again.
        assert!(
            logins.iter().all(|login| [200, 401].contains(&login.status.as_u16())),
            "{logins:?}"
        );
        delete(client, &path, &root).await.expect(204, Value::Null);
        for login in logins.iter().filter(|login| login.status == 200) {
            client.home_becomes(&login.field("access"), 401).await;
            client.refresh(&login.field("refresh")).await.expect(401, json!({}));
        }
        client.try_login("ada").await.expect(200, json!({}));
    }
}
