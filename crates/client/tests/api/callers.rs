//! Who gets to a handler, by what stands in its signature.

use actix_web::web::{self, Data};
use actix_web::{App, HttpServer};
use portcullis_client::{Caller, Follower, OptionalCaller, Requirement, ServiceAccount};
use reqwest::{Response, StatusCode};
use serde_json::Value;

use crate::issuer::{Issuer, Key};

struct ReadOrders;
impl Requirement for ReadOrders {
    const SCOPES: &'static [&'static str] = &["orders:read", "orders:list"];
}

struct Staff;
impl Requirement for Staff {
    const ROLES: &'static [&'static str] = &["staff", "superuser"];
}

struct StaffWhoReads;
impl Requirement for StaffWhoReads {
    const SCOPES: &'static [&'static str] = &["orders:read"];
    const ROLES: &'static [&'static str] = &["staff"];
}

/// A service with an endpoint for each requirement.
struct Service {
    url: String,
    http: reqwest::Client,
}

impl Service {
    fn start(follower: Follower) -> Self {
        let follower = Data::new(follower);
        let verifier = Data::from(follower.verifier());
        let server = HttpServer::new(move || {
            App::new()
                .app_data(follower.clone())
                .app_data(verifier.clone())
                .route("/any", web::get().to(async |caller: Caller| caller.sub.clone()))
                .route(
                    "/scoped",
                    web::get().to(async |caller: Caller<ReadOrders>| caller.sub.clone()),
                )
                .route(
                    "/staff",
                    web::get().to(async |caller: Caller<Staff>| caller.sub.clone()),
                )
                .route(
                    "/both",
                    web::get().to(async |caller: Caller<StaffWhoReads>| caller.sub.clone()),
                )
                .route(
                    "/service",
                    web::get().to(async |caller: ServiceAccount| caller.sub.clone()),
                )
                .route(
                    "/service-scoped",
                    web::get().to(async |caller: ServiceAccount<ReadOrders>| caller.sub.clone()),
                )
                .route(
                    "/optional",
                    web::get()
                        .to(async |caller: OptionalCaller| caller.0.map_or("nobody".to_owned(), |c| c.sub.clone())),
                )
        });
        let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        tokio::spawn(server.run());
        Self {
            url,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    async fn get(&self, path: &str, token: Option<&str>) -> Response {
        let mut request = self.http.get(format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap()
    }

    /// Who got there.
    async fn allowed(&self, path: &str, token: &str) -> String {
        let answer = self.get(path, Some(token)).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.text().await.unwrap()
    }

    /// The status, the challenge and the `code` of a refusal.
    async fn refused(&self, path: &str, token: Option<&str>) -> (u16, String, String) {
        let answer = self.get(path, token).await;
        let status = answer.status().as_u16();
        let challenge = answer.headers().get("www-authenticate");
        let challenge = challenge.map_or("", |value| value.to_str().unwrap()).to_owned();
        let body: Value = answer.json().await.unwrap();
        (status, challenge, body["code"].as_str().unwrap().to_owned())
    }
}

fn refusal(status: u16, challenge: &str, code: &str) -> (u16, String, String) {
    (status, challenge.to_owned(), code.to_owned())
}

const ANONYMOUS: &str = "Bearer realm=\"api\"";
const NOT_VALID: &str = "Bearer realm=\"api\", error=\"invalid_token\"";

#[tokio::test]
async fn scopes_and_roles_in_the_signature_are_asked_for() {
    let issuer = Issuer::start();
    let service = Service::start(issuer.follower().await);
    let key = &issuer.state.key;
    let plain = key.user("", &[]);
    assert_eq!(service.allowed("/any", &plain).await, "7");
    assert_eq!(
        service
            .allowed("/scoped", &key.user("x orders:list orders:read", &[]))
            .await,
        "7"
    );
    for role in ["staff", "superuser"] {
        assert_eq!(service.allowed("/staff", &key.user("", &["other", role])).await, "7");
    }
    assert_eq!(
        service.allowed("/both", &key.user("orders:read", &["staff"])).await,
        "7"
    );

    let scope = |needed: &str| {
        let challenge = format!("Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"{needed}\"");
        refusal(403, &challenge, "insufficient_scope")
    };
    for held in ["", "orders:read", "orders:list", "orders:readorders:list", "orders"] {
        let token = key.user(held, &["staff", "superuser"]);
        assert_eq!(
            service.refused("/scoped", Some(&token)).await,
            scope("orders:read orders:list"),
            "{held:?}"
        );
    }
    for roles in [&[][..], &["Staff"], &["staff superuser"]] {
        let token = key.user("staff", roles);
        assert_eq!(
            service.refused("/staff", Some(&token)).await,
            refusal(403, "", "permission_denied"),
            "{roles:?}"
        );
    }
    assert_eq!(
        service.refused("/both", Some(&key.user("", &["staff"]))).await,
        scope("orders:read")
    );
    let token = key.user("orders:read", &[]);
    assert_eq!(
        service.refused("/both", Some(&token)).await,
        refusal(403, "", "permission_denied")
    );
}

#[tokio::test]
async fn without_a_good_token_of_the_right_kind_nobody_gets_through() {
    let issuer = Issuer::start();
    let service = Service::start(issuer.follower().await);
    let key = &issuer.state.key;
    let (user, account) = (key.user("", &[]), key.service("billing", "orders:read orders:list"));
    for path in ["/any", "/scoped", "/staff", "/both", "/service", "/service-scoped"] {
        assert_eq!(
            service.refused(path, None).await,
            refusal(401, ANONYMOUS, "not_authenticated"),
            "{path}"
        );
        for bad in [
            "garbage",
            &user[..user.len() - 4],
            &Key::new("other").user("", &["staff"]),
        ] {
            assert_eq!(
                service.refused(path, Some(bad)).await,
                refusal(401, NOT_VALID, "token_not_valid"),
                "{path}"
            );
        }
    }
    for path in ["/any", "/scoped", "/staff", "/both"] {
        assert_eq!(
            service.refused(path, Some(&account)).await,
            refusal(401, NOT_VALID, "token_not_valid"),
            "{path}"
        );
    }
    for path in ["/service", "/service-scoped"] {
        assert_eq!(
            service.refused(path, Some(&user)).await,
            refusal(401, NOT_VALID, "token_not_valid"),
            "{path}"
        );
        assert_eq!(service.allowed(path, &account).await, "billing");
    }
    let (status, challenge, code) = service
        .refused("/service-scoped", Some(&key.service("billing", "orders:read")))
        .await;
    assert_eq!((status, code.as_str()), (403, "insufficient_scope"));
    assert!(challenge.ends_with("scope=\"orders:read orders:list\""), "{challenge}");
}

#[tokio::test]
async fn where_a_token_is_optional_a_bad_one_counts_as_none() {
    let issuer = Issuer::start();
    let service = Service::start(issuer.follower().await);
    assert_eq!(service.allowed("/optional", &issuer.state.key.user("", &[])).await, "7");
    assert_eq!(service.allowed("/optional", "garbage").await, "nobody");
    assert_eq!(service.get("/optional", None).await.text().await.unwrap(), "nobody");
}
