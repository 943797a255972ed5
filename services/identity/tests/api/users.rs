//! Seeing accounts.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::helpers::{Answer, Service, spawn};

fn names(answer: &Answer) -> Vec<&str> {
    let users = answer
        .body
        .as_array()
        .unwrap_or_else(|| panic!("not an array: {}", answer.text));
    users.iter().map(|user| user["username"].as_str().unwrap()).collect()
}

fn next(answer: &Answer) -> Option<String> {
    let link = answer.header("link");
    let (path, rest) = link.strip_prefix('<')?.split_once('>')?;
    assert_eq!(rest, "; rel=\"next\"");
    Some(path.to_owned())
}

/// Registers these, a second apart, and gives the token of a superuser who was there before them.
async fn with_users(service: &Service, users: &[&str]) -> String {
    let (_, token) = service.superuser("root").await;
    for name in users {
        service.clock.advance(Duration::from_secs(1));
        service.register(name).await;
    }
    token
}

#[tokio::test]
async fn a_user_sees_the_own_account_and_no_other() {
    let service = spawn().await;
    let (ada, grace) = (service.register("ada").await, service.register("grace").await);
    let token = ada["access"].as_str().unwrap();
    let path = |user: &Value| format!("/api/user/{}/", user["user"]["id"].as_str().unwrap());
    let own = service.get(&path(&ada), token).await;
    assert_eq!((own.status.as_u16(), &own.body), (200, &ada["user"]));
    assert_eq!(
        own.keys(),
        [
            "id",
            "username",
            "email",
            "is_active",
            "created",
            "updated",
            "is_staff",
            "is_superuser",
            "roles"
        ]
    );
    assert_eq!(service.get(path(&ada).trim_end_matches('/'), token).await.status, 200);
    service
        .get(&path(&grace), token)
        .await
        .is_problem(404, "not_found", "Not found.");
}

#[tokio::test]
async fn an_ordinary_user_does_not_see_the_list() {
    let service = spawn().await;
    let ada = service.register("ada").await;
    let answer = service.get("/api/user/", ada["access"].as_str().unwrap()).await;
    answer.is_problem(
        403,
        "permission_denied",
        "You do not have permission to perform this action.",
    );
}

#[tokio::test]
async fn a_superuser_sees_everybody_the_latest_changed_first() {
    let service = spawn().await;
    let token = with_users(&service, &["ada", "grace", "alan"]).await;
    let latest_first = ["alan", "grace", "ada", "root"];
    for query in [
        "",
        "/",
        "?ordering=-updated",
        "?ordering=nonsense&page=2&limit=0&limit=x",
        "?limit=1001",
        "?cursor=x",
    ] {
        let answer = service.get(&format!("/api/user{query}"), &token).await;
        assert_eq!(
            (answer.status.as_u16(), names(&answer)),
            (200, latest_first.to_vec()),
            "{query}"
        );
        assert_eq!(
            (answer.header("content-type"), answer.header("link")),
            ("application/json", "")
        );
    }
    let oldest_first = service.get("/api/user?ordering=updated", &token).await;
    assert_eq!(names(&oldest_first), ["root", "ada", "grace", "alan"]);
    let ada = &oldest_first.body[1];
    let one = service
        .get(&format!("/api/user/{}", ada["id"].as_str().unwrap()), &token)
        .await;
    assert_eq!(&one.body, ada);
}

#[tokio::test]
async fn a_change_moves_an_account_to_the_front_and_leaves_the_time_it_was_made() {
    let service = spawn().await;
    let token = with_users(&service, &["ada", "grace"]).await;
    let accounts = service.accounts().await;
    let before = accounts.find("ada").await.unwrap().unwrap();
    service.clock.advance(Duration::from_secs(1));
    accounts.deactivate(before.id).await.unwrap();
    let answer = service.get("/api/user", &token).await;
    assert_eq!(names(&answer), ["ada", "grace", "root"]);
    let ada = &answer.body[0];
    assert_eq!(ada["is_active"], false);
    assert_eq!(ada["created"], format!("{:.6}", before.created));
    assert_eq!(ada["updated"], format!("{:.6}", service.clock.now()));
}

#[tokio::test]
async fn pages_that_are_asked_for_join_up_to_the_whole_list() {
    let service = spawn().await;
    let (_, token) = service.superuser("root").await;
    // The clock stands, so that all were changed at one time and only ids tell them apart.
    for index in 0..6 {
        service.register(&format!("user{index}")).await;
    }
    for ordering in ["updated", "-updated"] {
        let all = service.get(&format!("/api/user?ordering={ordering}"), &token).await;
        let mut path = format!("/api/user?limit=3&ordering={ordering}");
        let mut joined = Vec::new();
        let mut lengths = Vec::new();
        loop {
            let page = service.get(&path, &token).await;
            let users = page.body.as_array().unwrap().clone();
            lengths.push(users.len());
            joined.extend(users);
            match next(&page) {
                Some(following) => path = following,
                None => break,
            }
        }
        assert_eq!(lengths, [3, 3, 1]);
        assert_eq!(Value::Array(joined), all.body);
    }
}

#[tokio::test]
async fn a_list_of_more_than_one_batch_is_whole() {
    let service = spawn().await;
    let (_, token) = service.superuser("root").await;
    let copy = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2999)
        INSERT INTO users SELECT '018f0000-0000-7000-8000-' || (100000000000 + i), 'user' || i, 'user' || i, 'user' || i, 'user' || i,
            password, is_active, is_staff, FALSE, roles, epoch, created, updated - i % 7, NULL FROM users, n";
    service.database.execute(copy);
    let answer = service.get("/api/user", &token).await;
    let mut seen = names(&answer);
    assert_eq!(seen.len(), 3000);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 3000);
}

#[tokio::test]
async fn an_id_that_nobody_has_is_not_found() {
    let service = spawn().await;
    let (_, token) = service.superuser("root").await;
    let ada = service.register("ada").await;
    for id in [
        "1",
        "abc",
        "undefined",
        "99999999999999999999999",
        "018f0000-0000-7000-8000-000000000000",
        "%00",
        "a%20b",
    ] {
        for token in [token.as_str(), ada["access"].as_str().unwrap()] {
            service
                .get(&format!("/api/user/{id}"), token)
                .await
                .is_problem(404, "not_found", "Not found.");
        }
    }
}

#[tokio::test]
async fn authentication_comes_before_anything_else() {
    let service = spawn().await;
    let (root, token) = service.superuser("root").await;
    let one = format!("/api/user/{}", root.id);
    for path in ["/api/user", "/api/user/abc", &one] {
        for method in [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ] {
            let answer = service.send(service.request(method.clone(), path)).await;
            assert_eq!(answer.status, 401, "{method} {path}");
            assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"api\"");
            if method == Method::GET || method == Method::HEAD {
                continue;
            }
            let answer = service
                .send(service.request(method.clone(), path).bearer_auth(&token))
                .await;
            answer.is_problem(405, "method_not_allowed", &format!("Method \"{method}\" not allowed."));
            assert_eq!(answer.header("allow"), "GET");
        }
    }
    let answer = service.send(service.request(Method::GET, "/api/user")).await;
    answer.is_problem(
        401,
        "not_authenticated",
        "Authentication credentials were not provided.",
    );
    let answer = service.get("/api/user", "garbage").await;
    answer.is_problem(401, "token_not_valid", "Given token not valid for any token type");
    let answer = service.get(&format!("/api/user?token={token}"), "").await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn head_answers_like_get_without_the_body() {
    let service = spawn().await;
    let (root, token) = service.superuser("root").await;
    for path in ["/api/user".to_owned(), format!("/api/user/{}", root.id)] {
        let answer = service
            .send(service.request(Method::HEAD, &path).bearer_auth(&token))
            .await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, ""), "{path}");
    }
}

#[tokio::test]
async fn a_token_outlives_neither_the_account_nor_its_rights() {
    let service = spawn().await;
    let accounts = service.accounts().await;
    let ada = service.register("ada").await;
    let id = ada["user"]["id"].as_str().unwrap();
    let claims_superuser = service.issuer.state.access_token(id, &["superuser".to_owned()]);
    assert_eq!(service.get("/api/user", &claims_superuser).await.status, 403);

    let path = format!("/api/user/{id}");
    let token = ada["access"].as_str().unwrap();
    accounts.deactivate(id.parse().unwrap()).await.unwrap();
    service
        .get(&path, token)
        .await
        .is_problem(401, "user_inactive", "User is inactive");
    accounts.activate(id.parse().unwrap()).await.unwrap();
    assert_eq!(service.get(&path, token).await.status, 200);
    accounts.delete(id.parse().unwrap()).await.unwrap();
    service
        .get(&path, token)
        .await
        .is_problem(401, "user_not_found", "User not found");
    let of_nobody = service.token_for("not-an-id");
    service
        .get(&path, &of_nobody)
        .await
        .is_problem(401, "user_not_found", "User not found");
}

#[tokio::test]
async fn an_unknown_path_is_a_404_in_the_error_shape() {
    let service = spawn().await;
    for path in [
        "/",
        "/api",
        "/api/users",
        "/api/auth",
        "/token/refresh",
        "/api/user/1/2",
    ] {
        let answer = service.send(service.request(Method::GET, path)).await;
        answer.is_problem(404, "not_found", "Not found.");
        assert_eq!(answer.body["status"], json!(404));
    }
}
