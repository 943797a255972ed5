//! What superusers do with the accounts of others.

use base64::Engine;
use portcullis_client::wire::Reason;
use reqwest::Method;
use serde_json::{Value, json};

use crate::helpers::{Answer, Service, slowly, spawn};

async fn patch(service: &Service, id: &str, token: &str, body: Value) -> Answer {
    let request = service.request(Method::PATCH, &format!("/api/admin/users/{id}"));
    service.send(request.bearer_auth(token).json(&body)).await
}

async fn delete(service: &Service, id: &str, token: &str) -> Answer {
    let request = service.request(Method::DELETE, &format!("/api/admin/users/{id}/"));
    service.send(request.bearer_auth(token)).await
}

async fn end_sessions(service: &Service, id: &str, token: &str) -> Answer {
    let request = service.request(Method::DELETE, &format!("/api/admin/users/{id}/sessions"));
    service.send(request.bearer_auth(token)).await
}

fn names(answer: &Answer) -> Vec<&str> {
    let users = answer.body.as_array().unwrap_or_else(|| panic!("{}", answer.text));
    users.iter().map(|user| user["username"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_account_is_deactivated_and_activated_and_its_sessions_end() {
    let service = spawn().await;
    let (_, root) = service.superuser("root").await;
    let ada = service.register("ada").await;
    let id = ada["user"]["id"].as_str().unwrap();
    let inactive = patch(&service, id, &root, json!({"is_active": false})).await;
    assert_eq!(
        (inactive.status.as_u16(), &inactive.body["is_active"]),
        (200, &json!(false))
    );
    // The answer came after the token service had been told.
    let told = service.issuer.revoked();
    assert_eq!(
        (told.len(), told[0].reason, told[0].subject.as_str()),
        (1, Reason::Deactivated, id)
    );
    assert_eq!(service.login("ada").await.status, 401);
    let active = patch(&service, id, &root, json!({"is_active": "true"})).await;
    assert_eq!(active.body["is_active"], true);
    assert_eq!(service.login("ada").await.status, 200);
    assert_eq!(service.issuer.revoked().len(), 1);
}

#[tokio::test]
async fn roles_reach_the_next_login_and_taking_one_away_ends_sessions() {
    let service = spawn().await;
    let (_, root) = service.superuser("root").await;
    let ada = service.register("ada").await;
    let id = ada["user"]["id"].as_str().unwrap();
    let given = json!({"roles": ["editor", "billing:read", "editor"], "is_staff": true});
    let changed = patch(&service, id, &root, given).await;
    assert_eq!(
        changed.body["roles"],
        json!(["editor", "billing:read"]),
        "{}",
        changed.text
    );
    assert!(service.issuer.revoked().is_empty());
    service.login("ada").await;
    let opened = service.issuer.opened();
    assert_eq!(opened.last().unwrap().roles, ["editor", "billing:read", "staff"]);
    let changed = patch(&service, id, &root, json!({"roles": ["editor"]})).await;
    assert_eq!(
        (&changed.body["roles"], &changed.body["is_staff"]),
        (&json!(["editor"]), &json!(true))
    );
    let told = service.issuer.revoked();
    assert_eq!((told.len(), told[0].reason), (1, Reason::Administrator));
}

#[tokio::test]
async fn a_superuser_who_is_demoted_is_one_no_longer_at_once() {
    let service = spawn().await;
    let (_, root) = service.superuser("root").await;
    let (other, others) = service.superuser("other").await;
    assert_eq!(service.get("/api/user", &others).await.status, 200);
    let demoted = patch(&service, &other.id.to_string(), &root, json!({"is_superuser": false})).await;
    assert_eq!(demoted.body["is_superuser"], false, "{}", demoted.text);
    assert_eq!(service.get("/api/user", &others).await.status, 403);
    assert_eq!(delete(&service, &other.id.to_string(), &others).await.status, 403);
}

#[tokio::test]
async fn an_account_is_deleted_once() {
    let service = spawn().await;
    let (_, root) = service.superuser("root").await;
    let ada = service.register("ada").await;
    let id = ada["user"]["id"].as_str().unwrap();
    let deleted = delete(&service, id, &root).await;
    assert_eq!((deleted.status.as_u16(), deleted.text.as_str()), (204, ""));
    assert_eq!(service.issuer.revoked()[0].reason, Reason::Deleted);
    delete(&service, id, &root)
        .await
        .is_problem(404, "not_found", "Not found.");
    let changed = patch(&service, id, &root, json!({"is_active": true})).await;
    changed.is_problem(404, "not_found", "Not found.");
    assert_eq!(patch(&service, "undefined", &root, json!({})).await.status, 404);
}

#[tokio::test]
async fn the_sessions_of_an_account_are_ended_and_it_is_left_as_it_was() {
    let service = spawn().await;
    let (_, root) = service.superuser("root").await;
    let ada = service.register("ada").await;
    let id = ada["user"]["id"].as_str().unwrap();
    let before = service.get(&format!("/api/user/{id}"), &root).await;
    let ended = end_sessions(&service, id, &root).await;
    assert_eq!((ended.status.as_u16(), ended.text.as_str()), (204, ""));
    // The answer came after the token service had been told.
    let told = service.issuer.revoked();
    assert_eq!(
        (told.len(), told[0].reason, told[0].subject.as_str(), &told[0].except),
        (1, Reason::Administrator, id, &None)
    );
    assert_eq!(service.get(&format!("/api/user/{id}"), &root).await.body, before.body);
    assert_eq!(service.login("ada").await.status, 200);
    assert_eq!(service.issuer.opened().last().unwrap().epoch, told[0].epoch);

    for unknown in ["00000000-0000-7000-8000-000000000000", "undefined"] {
        let nobody = end_sessions(&service, unknown, &root).await;
        nobody.is_problem(404, "not_found", "Not found.");
    }
    let path = format!("/api/admin/users/{id}/sessions/");
    let read = service.get(&path, &root).await;
    assert_eq!((read.status.as_u16(), read.header("allow")), (405, "DELETE"));
    let anonymous = service.send(service.request(Method::DELETE, &path)).await;
    assert_eq!(anonymous.status, 401);
    assert_eq!(service.issuer.revoked().len(), 1);
}

#[tokio::test]
async fn nobody_locks_themselves_out() {
    let service = spawn().await;
    let (user, root) = service.superuser("root").await;
    let id = user.id.to_string();
    for rights in [json!({"is_active": false}), json!({"is_superuser": false})] {
        let refused = patch(&service, &id, &root, rights).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.body["code"]),
            (400, &json!("own_account"))
        );
    }
    assert_eq!(delete(&service, &id, &root).await.body["code"], "own_account");
    let changed = patch(&service, &id, &root, json!({"roles": ["editor"], "is_active": true})).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    assert_eq!(service.get("/api/user", &root).await.status, 200);
}

#[tokio::test]
async fn an_ordinary_user_changes_nobody() {
    let service = spawn().await;
    let (root, _) = service.superuser("root").await;
    let ada = service.register("ada").await;
    let token = ada["access"].as_str().unwrap();
    for id in [
        root.id.to_string(),
        ada["user"]["id"].as_str().unwrap().to_owned(),
        "x".to_owned(),
    ] {
        let promoted = patch(&service, &id, token, json!({"is_superuser": true})).await;
        assert_eq!(
            (promoted.status.as_u16(), &promoted.body["code"]),
            (403, &json!("permission_denied"))
        );
        assert_eq!(delete(&service, &id, token).await.status, 403);
        assert_eq!(end_sessions(&service, &id, token).await.status, 403);
    }
    let path = format!("/api/admin/users/{}", root.id);
    let anonymous = service.send(service.request(Method::DELETE, &path)).await;
    assert_eq!(anonymous.status, 401);
    let seen = service.get(&path, token).await;
    assert_eq!(seen.status, 403);
}

#[tokio::test]
async fn rights_that_make_no_sense_are_named_and_nothing_is_changed() {
    let service = spawn().await;
    let (_, root) = service.superuser("root").await;
    let ada = service.register("ada").await;
    let id = ada["user"]["id"].as_str().unwrap();
    let list = "Expected a list of strings.";
    for (body, errors) in [
        (
            json!({"is_active": "maybe", "is_staff": true}),
            json!({"is_active": ["Must be a valid boolean."]}),
        ),
        (json!({"roles": "editor"}), json!({"roles": [list]})),
        (json!({"roles": [1]}), json!({"roles": [list]})),
        (
            json!({"roles": ["superuser"]}),
            json!({"roles": ["The role \"superuser\" is given by is_superuser."]}),
        ),
    ] {
        patch(&service, id, &root, body).await.is_invalid(&errors);
    }
    for bad in ["", "a b", "a,b", "é", &"x".repeat(65)] {
        assert_eq!(
            patch(&service, id, &root, json!({"roles": [bad]})).await.status,
            400,
            "{bad:?}"
        );
    }
    let many: Vec<_> = (0..33).map(|number| format!("role{number}")).collect();
    assert_eq!(patch(&service, id, &root, json!({"roles": many})).await.status, 400);
    let seen = service.get(&format!("/api/user/{id}"), &root).await;
    assert_eq!(seen.body, ada["user"]);
}

#[tokio::test]
async fn the_list_is_searched_ordered_and_paged_at_once() {
    let service = spawn().await;
    let (_, root) = service.superuser("root").await;
    for name in ["delta", "Alpha", "charlie", "bravo", "other"] {
        service.clock.advance(std::time::Duration::from_millis(1));
        service.register(name).await;
    }
    let found = service.get("/api/user?search=A&ordering=username", &root).await;
    // "a" is in the domain of every address.
    assert_eq!(names(&found), ["Alpha", "bravo", "charlie", "delta", "other", "root"]);
    let found = service
        .get("/api/user?search=%20LPHA@ex%20&ordering=-email", &root)
        .await;
    assert_eq!(names(&found), ["Alpha"]);
    let mut path = "/api/user?search=example.com&ordering=-username&limit=4".to_owned();
    let mut pages = Vec::new();
    loop {
        let page = service.get(&path, &root).await;
        pages.push(names(&page).into_iter().map(str::to_owned).collect::<Vec<_>>());
        let Some(next) = page
            .header("link")
            .strip_prefix('<')
            .and_then(|link| link.split_once('>'))
        else {
            break;
        };
        next.0.clone_into(&mut path);
    }
    let expected: [&[&str]; 2] = [&["root", "other", "delta", "charlie"], &["bravo", "Alpha"]];
    assert_eq!(pages, expected);
    let nothing = service.get("/api/user?search=%25", &root).await;
    assert_eq!(nothing.text, "[]");
    let first_made = service.get("/api/user?ordering=created&limit=2", &root).await;
    assert_eq!(names(&first_made), ["root", "delta"]);
}

#[tokio::test]
async fn a_superuser_who_is_demoted_while_a_request_is_kept_open_changes_nobody() {
    let service = spawn().await;
    let (_, root) = service.superuser("root").await;
    let (other, others) = service.superuser("other").await;
    let ada = service.register("ada").await;
    let path = format!("/api/admin/users/{}", ada["user"]["id"].as_str().unwrap());
    let request = service.request(Method::PATCH, &path).bearer_auth(&others);
    let (request, finish) = slowly(request, "{\"is_superuser\": true}");
    let meanwhile = async {
        let demoted = patch(&service, &other.id.to_string(), &root, json!({"is_superuser": false})).await;
        assert_eq!(demoted.status, 200, "{}", demoted.text);
        finish.send(()).unwrap();
    };
    let (answer, ()) = tokio::join!(service.send(request), meanwhile);
    assert_eq!(answer.status, 403, "{}", answer.text);
    let seen = service.get("/api/user?search=ada", &root).await;
    assert_eq!(seen.body[0]["is_superuser"], false);
}

#[tokio::test]
async fn a_nul_is_searched_for_in_vain_on_every_database() {
    let service = spawn().await;
    let (_, root) = service.superuser("root").await;
    for path in ["/api/user?search=%00", "/api/user?search=ro%00ot&limit=5"] {
        let answer = service.get(path, &root).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "[]"), "{path}");
    }
    let cursor = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode("x:a\0b");
    let answer = service
        .get(&format!("/api/user?ordering=username&cursor={cursor}"), &root)
        .await;
    assert_eq!(names(&answer), ["root"]);
}
