//! The contract that existing clients depend on, row by row, through the gateway.

use std::time::Duration;

use serde_json::{Value, json};

use crate::helpers::{PASSWORD, spawn};

const BOTH: [&str; 2] = ["", "/"];

#[tokio::test]
async fn success_bodies_have_their_members_in_order_with_and_without_a_slash() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(",");
    for (n, slash) in BOTH.into_iter().enumerate() {
        let name = format!("user{n}");
        let body = json!({"email": format!("{name}@example.com"), "password": PASSWORD, "username": name});
        let registered = client.post(&format!("/api/auth/register{slash}"), body).await;
        registered.expect(201, json!({}));
        let text = registered.json();
        assert_eq!(keys(&text), "user,refresh,token,access");
        assert_eq!(
            keys(&text["user"]),
            "id,username,email,is_active,created,updated,is_staff,is_superuser,roles"
        );
        assert_eq!(
            (&text["token"], registered.header("cache-control")),
            (&text["access"], "no-store")
        );
        let created = text["user"]["created"].as_str().unwrap();
        assert!(
            created.len() == "2026-11-21T16:53:26.593286Z".len() && created.ends_with('Z'),
            "{created}"
        );
        assert_eq!(registered.header("content-type"), "application/json");
        assert!(registered.text.starts_with("{\"user\":{\"id\":"), "compact");

        let login = json!({"email": format!("{name}@example.com"), "password": PASSWORD});
        let login = client.post(&format!("/api/auth/login{slash}"), login).await;
        login.expect(200, json!({}));
        assert_eq!(keys(&login.json()), "refresh,access,user");

        let token = client
            .post(
                &format!("/token{slash}"),
                json!({"username": name, "password": PASSWORD}),
            )
            .await;
        assert!(keys(&token.expect(200, json!({})).json()).starts_with("refresh,access"));

        let user = format!("/api/user/{}{slash}", text["user"]["id"].as_str().unwrap());
        let user = client.get(&user, &login.field("access")).await;
        assert_eq!(user.expect(200, json!({})).json(), text["user"]);

        for path in ["/api/auth/refresh", "/token/refresh"] {
            let refreshed = client
                .post(&format!("{path}{slash}"), json!({"refresh": login.field("refresh")}))
                .await;
            assert_eq!(keys(&refreshed.expect(200, json!({})).json()), "access,refresh");
            assert_eq!(refreshed.header("cache-control"), "no-store");
        }
        let home = client.get(&format!("/home{slash}"), &login.field("access")).await;
        assert!(home.expect(200, json!({})).json()["message"].is_string());
        let head = client
            .request("HEAD", &format!("/home{slash}"))
            .bearer_auth(login.field("access"));
        let head = client.send(head).await;
        assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));

        let logout = client
            .request("POST", &format!("/logout{slash}"))
            .bearer_auth(login.field("access"));
        let logout = client
            .send(logout.json(&json!({"refresh_token": login.field("refresh")})))
            .await;
        logout.expect(205, Value::Null);
        let by_body = json!({"refresh": token.field("refresh")});
        client
            .post(&format!("/api/auth/logout{slash}"), by_body)
            .await
            .expect(205, Value::Null);
    }
}

#[tokio::test]
async fn an_access_token_says_what_both_worlds_read() {
    use base64::Engine;
    let portcullis = spawn().await;
    let user = portcullis.client.register("ada").await;
    let part = |n| {
        base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(user.access.split('.').nth(n).unwrap())
            .unwrap()
    };
    let (header, claims): (Value, Value) = (
        serde_json::from_slice(&part(0)).unwrap(),
        serde_json::from_slice(&part(1)).unwrap(),
    );
    assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("ES256")));
    assert!(header["kid"].is_string());
    for claim in [
        "iss",
        "sub",
        "aud",
        "client_id",
        "iat",
        "exp",
        "jti",
        "sid",
        "token_type",
        "user_id",
    ] {
        assert!(!claims[claim].is_null(), "{claim}");
    }
    // This user has none of either, and validators of RFC 9068 refuse empty ones.
    assert_eq!((claims.get("scope"), claims.get("roles")), (None, None));
    assert_eq!(
        (&claims["sub"], &claims["user_id"], &claims["token_type"]),
        (&json!(user.id), &json!(user.id), &json!("access"))
    );
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
}

#[tokio::test]
async fn registration_names_every_mistake() {
    let portcullis = spawn().await;
    portcullis.client.register("taken").await;
    let long = "x".repeat(300);
    let good = json!({"username": "new", "email": "new@example.com", "password": PASSWORD});
    let rows = [
        (
            json!({"username": null}),
            json!({"username": ["This field may not be null."]}),
        ),
        (
            json!({"username": ""}),
            json!({"username": ["This field may not be blank."]}),
        ),
        (
            json!({"username": "   "}),
            json!({"username": ["This field may not be blank."]}),
        ),
        (json!({"username": ["a"]}), json!({"username": ["Not a valid string."]})),
        (
            json!({"username": {"a": 1}}),
            json!({"username": ["Not a valid string."]}),
        ),
        (json!({"username": true}), json!({"username": ["Not a valid string."]})),
        (
            json!({"username": "a\u{0}b"}),
            json!({"username": ["Null characters are not allowed."]}),
        ),
        (
            json!({"username": long}),
            json!({"username": ["Ensure this field has no more than 255 characters."]}),
        ),
        (
            json!({"username": "TAKEN"}),
            json!({"username": ["user with this username already exists."]}),
        ),
        (
            json!({"password": "1234567"}),
            json!({"password": ["Ensure this field has at least 8 characters."]}),
        ),
        (
            json!({"password": "x".repeat(129)}),
            json!({"password": ["Ensure this field has no more than 128 characters."]}),
        ),
        (
            json!({"email": "no address"}),
            json!({"email": ["Enter a valid email address."]}),
        ),
        (
            json!({"email": format!("{}@example.com", "x".repeat(128))}),
            json!({"email": ["Ensure this field has no more than 128 characters."]}),
        ),
        (
            json!({"email": "Taken@Example.com"}),
            json!({"email": ["user with this email already exists."]}),
        ),
        (
            json!({"is_active": "perhaps"}),
            json!({"is_active": ["Must be a valid boolean."]}),
        ),
    ];
    for (change, expected) in rows {
        let mut body = good.clone();
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let answer = portcullis.client.post("/api/auth/register/", body).await;
        answer.expect(400, expected.clone());
        let field = expected.as_object().unwrap().keys().next().unwrap();
        assert_eq!(answer.json()["errors"][field], expected[field], "{answer:?}");
    }
    let missing = json!(["This field is required."]);
    let all = json!({"username": missing, "email": missing, "password": missing});
    portcullis
        .client
        .post("/api/auth/register/", json!({}))
        .await
        .expect(400, all.clone());
    let empty = portcullis.client.request("POST", "/api/auth/register/");
    portcullis.client.send(empty).await.expect(400, all);
    let mut ignored = good.clone();
    ignored.as_object_mut().unwrap().extend(
        json!({"is_superuser": true, "id": 1, "is_active": "false"})
            .as_object()
            .unwrap()
            .clone(),
    );
    let user = portcullis.client.post("/api/auth/register/", ignored).await;
    assert_eq!(user.expect(201, json!({})).json()["user"]["is_active"], json!(true));
    portcullis
        .client
        .get("/api/user/", &user.field("access"))
        .await
        .expect(403, json!({}));
}

#[tokio::test]
async fn passwords_are_not_cut_off_and_numbers_are_names_too() {
    let portcullis = spawn().await;
    let (long, other) = ("p".repeat(128), format!("{}q", "p".repeat(127)));
    let body = json!({"username": 42, "email": "n@example.com", "password": long});
    let user = portcullis.client.post("/api/auth/register/", body).await;
    assert_eq!(user.expect(201, json!({})).json()["user"]["username"], "42");
    portcullis
        .client
        .post("/token/", json!({"username": "42", "password": long}))
        .await
        .expect(200, json!({}));
    portcullis
        .client
        .post("/token/", json!({"username": "42", "password": other}))
        .await
        .expect(401, json!({}));
    portcullis
        .client
        .post("/token/", json!({"username": 42, "password": long}))
        .await
        .expect(200, json!({}));
}

#[tokio::test]
async fn every_post_takes_json_forms_and_multipart_and_nothing_else() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    client.register("ada").await;
    let boundary = "multipart/form-data; boundary=b";
    let part =
        |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let login = format!("{}{}--b--\r\n", part("username", "ada"), part("password", PASSWORD));
    let rows = [
        (
            "application/json; charset=UTF-8",
            json!({"username": "ada", "password": PASSWORD}).to_string(),
        ),
        (
            "application/x-www-form-urlencoded",
            format!("username=ada&password={}", PASSWORD.replace(' ', "+")),
        ),
        (boundary, login),
    ];
    for (media, body) in rows {
        let request = client
            .request("POST", "/token/")
            .header("Content-Type", media)
            .body(body);
        let pair = client.send(request).await;
        let refresh = pair.expect(200, json!({})).field("refresh");
        let form = client
            .request("POST", "/token/refresh/")
            .header("Content-Type", boundary);
        let form = form.body(format!("{}--b--\r\n", part("refresh", &refresh)));
        client.send(form).await.expect(200, json!({}));
    }
    for path in [
        "/token/",
        "/api/auth/login/",
        "/api/auth/register/",
        "/api/auth/refresh/",
        "/api/auth/logout/",
    ] {
        let plain = client
            .request("POST", path)
            .header("Content-Type", "text/plain")
            .body("a");
        client.send(plain).await.expect(
            415,
            json!({"detail": "Unsupported media type \"text/plain\" in request."}),
        );
        let untyped = client.request("POST", path).body("a");
        client.send(untyped).await.expect(
            415,
            json!({"detail": "Unsupported media type \"text/plain\" in request."}),
        );
    }
}

#[tokio::test]
async fn wrong_credentials_look_the_same_whoever_they_are_for() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let inactive = client.register("inactive").await;
    client.register("ada").await;
    let deleted = client.register("deleted").await;
    let accounts = portcullis_identity::Accounts::open(&portcullis.config.identity, portcullis.clock.clone())
        .await
        .unwrap();
    accounts.deactivate(inactive.id.parse().unwrap()).await.unwrap();
    accounts.delete(deleted.id.parse().unwrap()).await.unwrap();
    let mut bodies = Vec::new();
    for (email, password) in [
        ("nobody@example.com", PASSWORD),
        ("no address", PASSWORD),
        ("ada@example.com", "wrong password"),
        ("inactive@example.com", PASSWORD),
        ("deleted@example.com", PASSWORD),
    ] {
        // A header left over from an earlier session plays no part.
        let request = client
            .request("POST", "/api/auth/login/")
            .bearer_auth("stale")
            .json(&json!({"email": email, "password": password}));
        let answer = client.send(request).await;
        answer.expect(
            401,
            json!({"detail": "No active account found with the given credentials"}),
        );
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"api\"");
        let mut body = answer.json();
        body["request_id"] = Value::Null;
        bodies.push(body);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
    client.post("/api/auth/login/", json!({})).await.expect(
        400,
        json!({"email": ["This field is required."], "password": ["This field is required."]}),
    );
    client.post("/token/", json!({})).await.expect(
        400,
        json!({"username": ["This field is required."], "password": ["This field is required."]}),
    );
}

#[tokio::test]
async fn missing_and_malformed_credentials_are_401_with_a_challenge() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let access = client.register("ada").await.access;
    for path in ["/home", "/home/", "/api/user", "/logout/"] {
        let method = if path == "/logout/" { "POST" } else { "GET" };
        let none = client.send(client.request(method, path)).await;
        none.expect(401, json!({"detail": "Authentication credentials were not provided."}));
        assert_eq!(none.header("www-authenticate"), "Bearer realm=\"api\"");
        for other in [
            format!("Token {access}"),
            "Basic YTpi".to_owned(),
            format!("JWT {access}"),
        ] {
            let request = client.request(method, path).header("Authorization", other);
            client
                .send(request)
                .await
                .expect(401, json!({"detail": "Authentication credentials were not provided."}));
        }
        for malformed in ["Bearer".to_owned(), format!("Bearer {access} more")] {
            let request = client.request(method, path).header("Authorization", malformed);
            client.send(request).await.expect(
                401,
                json!({"detail": "Authorization header must contain two space-delimited values", "code": "bad_authorization_header"}),
            );
        }
    }
    client
        .send(client.request("GET", &format!("/home?access_token={access}")))
        .await
        .expect(401, json!({}));
    let lower = client
        .request("GET", "/home")
        .header("Authorization", format!("bearer {access}"));
    client.send(lower).await.expect(200, json!({}));
    // Authentication comes before the method.
    client
        .send(client.request("DELETE", "/api/user/1/"))
        .await
        .expect(401, json!({}));
}

#[tokio::test]
async fn refresh_tokens_that_are_none_are_401_and_missing_ones_400() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let user = client.register("ada").await;
    for path in ["/api/auth/refresh/", "/token/refresh/"] {
        for garbage in ["garbage", "pcr_abc", "a.b.c", &format!("{}x", user.refresh)] {
            client
                .post(path, json!({"refresh": garbage}))
                .await
                .expect(401, json!({"detail": "Token is invalid", "code": "token_not_valid"}));
        }
        let access = client.post(path, json!({"refresh": user.access})).await;
        access.expect(
            401,
            json!({"detail": "Token has wrong type", "code": "token_not_valid"}),
        );
        for (body, message) in [
            (json!({}), "This field is required."),
            (json!({"refresh": null}), "This field may not be null."),
            (json!({"refresh": ""}), "This field may not be blank."),
            (json!({"refresh": []}), "Not a valid string."),
        ] {
            client.post(path, body).await.expect(400, json!({"refresh": [message]}));
        }
    }
    let stale = client
        .request("POST", "/token/refresh/")
        .bearer_auth("stale")
        .json(&json!({"refresh": user.refresh}));
    client.send(stale).await.expect(200, json!({}));
}

#[tokio::test]
async fn deactivated_and_deleted_users_are_refused_everywhere() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let accounts = portcullis_identity::Accounts::open(&portcullis.config.identity, portcullis.clock.clone())
        .await
        .unwrap();
    let (inactive, deleted) = (client.register("inactive").await, client.register("deleted").await);
    accounts.deactivate(inactive.id.parse().unwrap()).await.unwrap();
    accounts.delete(deleted.id.parse().unwrap()).await.unwrap();
    let answer = client.home_becomes(&inactive.access, 401).await;
    answer.expect(401, json!({"detail": "User is inactive", "code": "user_inactive"}));
    let answer = client.home_becomes(&deleted.access, 401).await;
    answer.expect(401, json!({"detail": "User not found", "code": "user_not_found"}));
    for user in [&inactive, &deleted] {
        client
            .refresh(&user.refresh)
            .await
            .expect(401, json!({"detail": "No active account found for the given token."}));
    }
    client.try_login("inactive").await.expect(401, json!({}));
    accounts.activate(inactive.id.parse().unwrap()).await.unwrap();
    let again = client.login("inactive").await;
    client.home(&again.access).await.expect(200, json!({}));
    client
        .home(&inactive.access)
        .await
        .expect(401, json!({"code": "user_inactive"}));
}

#[tokio::test]
async fn superusers_see_everybody_in_the_order_they_ask_for() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let ada = client.register("ada").await;
    portcullis.clock.advance(Duration::from_secs(1));
    client.register("bob").await;
    portcullis.clock.advance(Duration::from_secs(1));
    let root = portcullis.superuser("root").await.access;
    let names = |value: Value| {
        let users = value.as_array().unwrap().clone();
        users
            .iter()
            .map(|user| user["username"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
            .join(",")
    };
    for (query, expected) in [
        ("", "root,bob,ada"),
        ("?ordering=-updated", "root,bob,ada"),
        ("?ordering=updated", "ada,bob,root"),
        ("?ordering=nonsense&page=7", "root,bob,ada"),
        ("?limit=0", "root,bob,ada"),
        ("?limit=2", "root,bob"),
    ] {
        let list = client.get(&format!("/api/user/{query}"), &root).await;
        assert_eq!(names(list.expect(200, Value::Null).json()), expected, "{query}");
    }
    let first = client.get("/api/user?limit=2", &root).await;
    let link = first.header("link");
    let next = link.split(['<', '>']).nth(1).unwrap_or_else(|| panic!("{link}"));
    assert!(next.starts_with('/'), "{link}");
    let second = client.get(next, &root).await;
    assert_eq!((names(second.json()), second.header("link")), ("ada".to_owned(), ""));
    client
        .get(&format!("/api/user/{}", ada.id), &root)
        .await
        .expect(200, json!({"username": "ada"}));
    client
        .get("/api/user/undefined", &root)
        .await
        .expect(404, json!({"detail": "Not found."}));
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let answer = client
            .send(client.request(method, "/api/user/1/").bearer_auth(&root))
            .await;
        answer.expect(405, json!({"detail": format!("Method \"{method}\" not allowed.")}));
        assert!(answer.header("allow").starts_with("GET"), "{answer:?}");
    }
}

#[tokio::test]
async fn logout_answers_400_to_whatever_is_no_refresh_token_of_a_live_session() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let user = client.register("ada").await;
    let other = client.login("ada").await;
    client
        .post("/api/auth/logout", json!({"refresh": other.refresh}))
        .await
        .expect(205, Value::Null);
    let bodies = [
        json!({}),
        json!({"refresh_token": null}),
        json!({"refresh_token": ""}),
        json!({"refresh_token": "garbage"}),
        json!({"refresh_token": user.access}),
        json!({"refresh_token": other.refresh}),
        json!({"token": "x"}),
        json!([]),
        Value::Null,
    ];
    for body in bodies {
        let request = client.request("POST", "/logout/").bearer_auth(&user.access).json(&body);
        client.send(request).await.expect(400, json!({}));
    }
    let broken = client.request("POST", "/logout/").bearer_auth(&user.access);
    client
        .send(broken.header("Content-Type", "application/json").body("{nope"))
        .await
        .expect(400, json!({}));
    client.home(&user.access).await.expect(200, json!({}));
    client
        .post("/logout/", json!({"refresh_token": user.refresh}))
        .await
        .expect(401, json!({}));
    client.post("/api/auth/logout", json!({})).await.expect(400, json!({}));
}

#[tokio::test]
async fn a_bearer_token_alone_logs_out_and_an_expired_one_does_not_keep_anybody_in() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let user = client.register("ada").await;
    let logout = client
        .send(client.request("POST", "/api/auth/logout").bearer_auth(&user.access))
        .await;
    logout.expect(205, Value::Null);
    client.home_becomes(&user.access, 401).await;
    client
        .refresh(&user.refresh)
        .await
        .expect(401, json!({"detail": "Token is blacklisted"}));
    let again = client.login("ada").await;
    portcullis.clock.advance(Duration::from_secs(400));
    let request = client.request("POST", "/api/auth/logout").bearer_auth(&again.access);
    client
        .send(request.json(&json!({"refresh": again.refresh})))
        .await
        .expect(205, Value::Null);
}

#[tokio::test]
async fn wrong_methods_and_unknown_paths_keep_to_the_error_shape() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let access = client.register("ada").await.access;
    for (method, path, allowed) in [
        ("GET", "/api/auth/login/", "POST"),
        ("GET", "/api/auth/register", "POST"),
        ("PUT", "/token/", "POST"),
        ("DELETE", "/api/auth/refresh", "POST"),
        ("GET", "/token/refresh/", "POST"),
        ("GET", "/api/auth/logout", "POST"),
        ("POST", "/home/", "GET"),
        ("GET", "/oauth/token", "POST"),
        ("POST", "/.well-known/jwks.json", "GET"),
    ] {
        let request = client
            .request(method, path)
            .bearer_auth(&access)
            .header("Origin", "http://localhost:3000");
        let answer = client.send(request).await;
        answer.expect(
            405,
            json!({"detail": format!("Method \"{method}\" not allowed."), "code": "method_not_allowed"}),
        );
        assert!(answer.header("allow").contains(allowed), "{path}: {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), "http://localhost:3000");
    }
    for path in [
        "/nowhere",
        "/api",
        "/api/auth",
        "/homework",
        "/internal/feed",
        "/internal/sessions",
        "/healthz",
        "/metrics",
    ] {
        let request = client
            .request("GET", path)
            .header("Origin", "http://127.0.0.1:3000")
            .bearer_auth(&access);
        let answer = client.send(request).await;
        answer.expect(404, json!({"detail": "Not found.", "code": "not_found"}));
        assert_eq!(answer.header("access-control-allow-origin"), "http://127.0.0.1:3000");
    }
    let asked = client
        .request("GET", "/nowhere")
        .header("Accept", "application/problem+json");
    assert_eq!(
        client.send(asked).await.header("content-type"),
        "application/problem+json"
    );
}

#[tokio::test]
async fn preflights_are_answered_on_any_path_for_allowed_origins_only() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    for path in [
        "/token/",
        "/token/refresh/",
        "/home/",
        "/logout/",
        "/api/auth/login/",
        "/nowhere",
    ] {
        let ask = |origin: &str| {
            let request = client.request("OPTIONS", path).header("Origin", origin);
            request
                .header("Access-Control-Request-Method", "POST")
                .header("Access-Control-Request-Headers", "authorization,content-type")
        };
        let allowed = client.send(ask("http://localhost:3000")).await;
        assert_eq!((allowed.status.as_u16(), allowed.text.as_str()), (200, ""));
        assert_eq!(allowed.header("access-control-allow-origin"), "http://localhost:3000");
        assert_eq!(allowed.header("access-control-max-age"), "86400");
        let headers = allowed.header("access-control-allow-headers").to_ascii_lowercase();
        for header in [
            "accept",
            "authorization",
            "content-type",
            "user-agent",
            "x-csrftoken",
            "x-requested-with",
        ] {
            assert!(headers.contains(header), "{header} in {headers}");
        }
        for method in ["DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT"] {
            assert!(allowed.header("access-control-allow-methods").contains(method));
        }
        let foreign = client.send(ask("http://evil.example")).await;
        assert_eq!(foreign.status.as_u16(), 200);
        assert!(
            foreign
                .headers
                .keys()
                .all(|name| !name.as_str().starts_with("access-control-")),
            "{foreign:?}"
        );
    }
    let simple = client.request("GET", "/home").header("Origin", "http://evil.example");
    let simple = client.send(simple).await;
    assert!(
        simple
            .headers
            .keys()
            .all(|name| !name.as_str().starts_with("access-control-")),
        "{simple:?}"
    );
    assert!(simple.header("vary").contains("Origin"));
    for (name, value) in [
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(simple.header(name), value);
    }
}

#[tokio::test]
async fn keys_and_metadata_are_public() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let keys = client.send(client.request("GET", "/.well-known/jwks.json")).await;
    let tag = keys.header("etag");
    assert!(tag.starts_with('"'), "{tag}");
    assert_eq!(keys.header("cache-control"), "public, max-age=60");
    for (known, status) in [(tag, 304), ("*", 304), ("\"other\"", 200)] {
        let again = client.request("GET", "/.well-known/jwks.json");
        let again = client.send(again.header("If-None-Match", known)).await;
        assert_eq!((again.status.as_u16(), again.header("etag")), (status, tag), "{known}");
    }
    let keys = keys.expect(200, json!({})).json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    assert!(
        keys["keys"]
            .as_array()
            .unwrap()
            .iter()
            .all(|key| key["kty"] == "EC" && key["d"].is_null() && key["use"] == "sig")
    );
    let metadata = client
        .send(client.request("GET", "/.well-known/oauth-authorization-server"))
        .await;
    metadata.expect(200, json!({"issuer": portcullis.config.token.issuer}));
}

#[tokio::test]
async fn whoever_logs_out_with_tokens_of_two_sessions_ends_both() {
    let portcullis = spawn().await;
    let client = &portcullis.client;
    let (first, second) = (client.register("ada").await, client.login("ada").await);
    let bystander = client.login("ada").await;
    let request = client.request("POST", "/logout").bearer_auth(&first.access);
    client
        .send(request.json(&json!({"refresh_token": second.refresh})))
        .await
        .expect(205, Value::Null);
    client.home_becomes(&first.access, 401).await;
    client.home_becomes(&second.access, 401).await;
    client.home(&bystander.access).await.expect(200, json!({}));
}
