//! One's own sessions: seen, and ended from one another.

mod cookie;
mod ended;

use std::time::Duration;

use portcullis::role::Role;
use portcullis_token::account;
use serde_json::{Value, json};

use crate::helpers::{Answer, Client, PASSWORD, Portcullis, SignedIn, spawn};

const SESSIONS: &str = "/api/auth/sessions";

async fn list(client: &Client, user: &SignedIn) -> Vec<Value> {
    let answer = client.get(SESSIONS, &user.access).await;
    answer.expect(200, Value::Null);
    assert_eq!(answer.header("cache-control"), "no-store");
    serde_json::from_str(&answer.text).unwrap()
}

/// The ids of a list, in its order.
fn ids(sessions: &[Value]) -> Vec<&str> {
    sessions.iter().map(|session| session["id"].as_str().unwrap()).collect()
}

/// The id of the session that `user` is in.
async fn own(client: &Client, user: &SignedIn) -> String {
    let sessions = list(client, user).await;
    let mut current = sessions.iter().filter(|session| session["current"] == json!(true));
    let (Some(own), None) = (current.next(), current.next()) else {
        panic!("{sessions:?}");
    };
    own["id"].as_str().unwrap().to_owned()
}

async fn delete(client: &Client, path: &str, user: &SignedIn) -> Answer {
    client
        .send(client.request("DELETE", path).bearer_auth(&user.access))
        .await
}

/// Ends the session `id` on behalf of `user`.
async fn end(client: &Client, user: &SignedIn, id: &str) -> Answer {
    delete(client, &format!("{SESSIONS}/{id}"), user).await
}

/// Neither its access token nor its refresh token is good for anything any more, at any gateway.
async fn is_over(client: &Client, user: &SignedIn) {
    let refused = client.home_becomes(&user.access, 401).await;
    refused.expect(401, json!({"code": "token_not_valid"}));
    let refused = client.refresh(&user.refresh).await;
    refused.expect(
        401,
        json!({"code": "token_not_valid", "detail": "Token is blacklisted"}),
    );
}

async fn goes_on(client: &Client, user: &SignedIn) {
    for gateway in client.each() {
        gateway.home(&user.access).await.expect(200, json!({}));
    }
    client.refresh(&user.refresh).await.expect(200, json!({}));
}

/// Seconds between two times of an answer, which have six decimals and end with a Z.
fn seconds(from: &Value, to: &Value) -> f64 {
    let [from, to] = [from, to].map(|time| {
        let text = time.as_str().unwrap();
        assert!(text.len() == 27 && text.ends_with('Z'), "{text}");
        text.parse::<jiff::Timestamp>().unwrap()
    });
    to.duration_since(from).as_secs_f64()
}

#[tokio::test]
async fn a_list_shows_ones_live_sessions_last_used_first() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let first = client.register("ada").await;
    portcullis.clock.advance(Duration::from_mins(1));
    let request = client
        .request("POST", "/api/auth/login")
        .header("User-Agent", "Mosaic/1");
    let credentials = json!({"email": "ada@example.com", "password": PASSWORD});
    let answer = client.send(request.json(&credentials)).await;
    let second = SignedIn {
        id: first.id.clone(),
        access: answer.field("access"),
        refresh: answer.field("refresh"),
    };
    let (first_id, second_id) = (own(client, &first).await, own(client, &second).await);
    assert_eq!(ids(&list(client, &first).await), [&*second_id, &*first_id]);

    portcullis.clock.advance(Duration::from_mins(1));
    client.refresh(&first.refresh).await.expect(200, json!({}));
    let sessions = list(client, &second).await;
    let [used, current] = sessions.as_slice() else {
        panic!("{sessions:?}")
    };
    assert_eq!(ids(&sessions), [&*first_id, &*second_id]);
    assert_eq!((&used["current"], &current["current"]), (&json!(false), &json!(true)));
    assert_eq!((&used["user_agent"], &used["ip"]), (&Value::Null, &json!("127.0.0.1")));
    assert_eq!(current["user_agent"], json!("Mosaic/1"));
    let day = Duration::from_hours(24).as_secs_f64();
    for (session, [created, last_used]) in [(used, [0.0, 120.0]), (current, [60.0, 60.0])] {
        let members: Vec<&String> = session.as_object().unwrap().keys().collect();
        assert_eq!(
            members,
            ["id", "current", "created", "last_used", "expires", "user_agent", "ip"]
        );
        let since_login = |time: &str| seconds(&used["created"], &session[time]);
        let times = ["created", "last_used", "expires"].map(since_login);
        for (time, expected) in times.into_iter().zip([created, last_used, last_used + day]) {
            assert!((time - expected).abs() < 0.001, "{session}");
        }
    }
}

#[tokio::test]
async fn sessions_that_ended_or_expired_are_not_listed() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let (expires, left) = (client.register("ada").await, client.login("ada").await);
    let ids = [own(client, &expires).await, own(client, &left).await];
    client.logout(&left).await.expect(205, Value::Null);
    portcullis.clock.advance(Duration::from_hours(23));
    let fresh = client.login("ada").await;
    assert_eq!(list(client, &fresh).await.len(), 2);
    portcullis.clock.advance(Duration::from_hours(1));
    let latest = client.login("ada").await;
    assert_eq!(list(client, &latest).await.len(), 2, "fresh and latest");
    for id in ids {
        end(client, &latest, &id).await.expect(404, json!({}));
    }
}

#[tokio::test]
async fn a_session_that_is_ended_from_another_is_refused_by_every_gateway() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let here = client.register("ada").await;
    let (there, elsewhere) = (client.login("ada").await, client.login("ada").await);
    for gateway in client.each() {
        gateway.home(&there.access).await.expect(200, json!({}));
    }
    let id = own(client, &there).await;
    let ended = end(client, &here, &id).await;
    ended.expect(204, Value::Null);
    assert_eq!(ended.text, "");
    is_over(client, &there).await;
    end(client, &here, &id).await.expect(404, json!({"code": "not_found"}));
    assert!(!ids(&list(client, &here).await).contains(&&*id));
    // Nor can whoever was signed out sign others out.
    delete(client, SESSIONS, &there).await.expect(401, json!({}));
    for user in [here, elsewhere] {
        goes_on(client, &user).await;
    }
}

#[tokio::test]
async fn the_session_that_asks_may_end_itself() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let (here, there) = (client.register("ada").await, client.login("ada").await);
    let id = own(client, &here).await;
    end(client, &here, &id).await.expect(204, Value::Null);
    is_over(client, &here).await;
    goes_on(client, &there).await;
}

#[tokio::test]
async fn signing_out_everywhere_else_keeps_the_session_that_asks() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let (phone, here) = (client.register("ada").await, client.login("ada").await);
    let laptop = client.login("ada").await;
    let stranger = client.register("bob").await;
    for _ in 0..2 {
        delete(client, SESSIONS, &here).await.expect(204, Value::Null);
    }
    for gone in [phone, laptop] {
        is_over(client, &gone).await;
    }
    for user in [&here, &stranger] {
        goes_on(client, user).await;
        assert_eq!(list(client, user).await.len(), 1);
    }
    goes_on(client, &client.login("ada").await).await;
}

#[tokio::test]
async fn nobody_sees_or_ends_somebody_elses_sessions() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let (ada, bob) = (client.register("ada").await, client.register("bob").await);
    let (adas, bobs) = (own(client, &ada).await, own(client, &bob).await);
    assert_eq!(ids(&list(client, &bob).await), [&*bobs]);
    let unknown = "A".repeat(adas.len());
    let tail = format!("{adas}A");
    for id in [&adas, &unknown, &tail, "nonsense", "%20", "*", &adas[..31], &ada.id] {
        end(client, &bob, id)
            .await
            .expect(404, json!({"detail": "Not found.", "code": "not_found"}));
    }
    delete(client, SESSIONS, &bob).await.expect(204, Value::Null);
    goes_on(client, &ada).await;
    goes_on(client, &bob).await;
}

async fn service_token(portcullis: &Portcullis) -> String {
    let store = portcullis_token::open_store(&portcullis.config.token).await.unwrap();
    let scopes = vec!["tokens:revoke".to_owned()];
    let secret = account::create(&*store, "orders", scopes, &portcullis.clock).await;
    let client = &portcullis.client;
    let request = client
        .request("POST", "/oauth/token")
        .basic_auth("orders", secret.unwrap());
    let answer = client.send(request.form(&[("grant_type", "client_credentials")])).await;
    answer.expect(200, json!({})).field("access_token")
}

#[tokio::test]
async fn sessions_are_for_users_and_have_few_methods() {
    let portcullis = spawn().await;
    let user = portcullis.client.register("ada").await;
    let id = own(&portcullis.client, &user).await;
    let service = service_token(&portcullis).await;
    let one = format!("{SESSIONS}/{id}");
    // The token service does not rely on the gateway.
    let tokens = Client::of_all(portcullis.urls(Role::Token));
    for client in [&portcullis.client, &tokens] {
        for (method, path) in [("GET", SESSIONS), ("DELETE", SESSIONS), ("DELETE", &one)] {
            let nobody = client.send(client.request(method, path)).await;
            nobody.expect(401, json!({"code": "not_authenticated"}));
            let no_user = client.send(client.request(method, path).bearer_auth(&service)).await;
            no_user.expect(401, json!({"code": "token_not_valid"}));
        }
    }
    let client = &portcullis.client;
    for (method, path, allowed) in [
        ("POST", SESSIONS, "GET, HEAD, DELETE, OPTIONS"),
        ("PUT", SESSIONS, "GET, HEAD, DELETE, OPTIONS"),
        ("GET", &one, "DELETE, OPTIONS"),
        ("PATCH", &one, "DELETE, OPTIONS"),
    ] {
        let answer = client
            .send(client.request(method, path).bearer_auth(&user.access))
            .await;
        answer.expect(405, json!({"code": "method_not_allowed"}));
        assert_eq!(answer.header("allow"), allowed);
    }
    client
        .get(&format!("{SESSIONS}/"), &user.access)
        .await
        .expect(200, Value::Null);
    goes_on(client, &user).await;
    delete(client, &format!("{one}/"), &user).await.expect(204, Value::Null);
    is_over(client, &user).await;
}

/// What identity tells the token service after a password was changed.
async fn tell_of_a_new_password(
    portcullis: &Portcullis,
    service: &str,
    epoch: i64,
    subject: &str,
    except: &str,
) -> Value {
    let tokens = Client::of_all(portcullis.urls(Role::Token));
    let request = tokens.request("POST", "/internal/revoke").bearer_auth(service);
    let told = json!({"subject": subject, "epoch": epoch, "reason": "password_changed", "except": except});
    tokens.send(request.json(&told)).await.expect(200, json!({})).json()
}

#[tokio::test]
async fn the_session_that_changed_the_password_goes_on_however_often_that_is_told() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let (here, there) = (client.register("ada").await, client.login("ada").await);
    let own_id = own(client, &here).await;
    let service = service_token(&portcullis).await;
    let tell = async |epoch, except: &str| {
        let answer = tell_of_a_new_password(&portcullis, &service, epoch, &here.id, except).await;
        answer["ended"].as_u64().unwrap()
    };
    assert_eq!(tell(1, &own_id).await, 1);
    is_over(client, &there).await;
    for told_again in [tell(1, &own_id).await, tell(0, "").await, tell(1, &own_id).await] {
        assert_eq!(told_again, 0);
        goes_on(client, &here).await;
    }
    // What cannot be a session keeps nothing from ending.
    assert_eq!(tell(2, "../nonsense").await, 1);
    is_over(client, &here).await;
}

#[tokio::test]
async fn a_session_ended_through_one_token_service_is_over_at_the_other() {
    let portcullis = spawn().await;
    let tokens = Client::of_all(portcullis.urls(Role::Token)).each();
    // Embedded there is only one.
    let (one, other) = (&tokens[0], &tokens[tokens.len() - 1]);
    let here = portcullis.client.register("ada").await;
    let there = portcullis.client.login("ada").await;
    assert_eq!(list(one, &here).await, list(other, &here).await);
    let id = own(one, &there).await;
    end(one, &here, &id).await.expect(204, Value::Null);
    assert_eq!(list(other, &here).await.len(), 1);
    end(other, &here, &id).await.expect(404, json!({}));
    other.refresh(&there.refresh).await.expect(401, json!({}));
    is_over(&portcullis.client, &there).await;

    let again = portcullis.client.login("ada").await;
    delete(other, SESSIONS, &again).await.expect(204, Value::Null);
    is_over(&portcullis.client, &here).await;
    assert_eq!(list(one, &again).await.len(), 1);
}
