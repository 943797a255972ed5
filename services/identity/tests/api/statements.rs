//! How many SQL statements requests cost, on either database: everything that goes over a connection is counted, also what
//! begins and ends a transaction and what asks whether a connection still works.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use diesel::connection::{Instrumentation, InstrumentationEvent, set_default_instrumentation};
use portcullis_identity::Config;
use serde_json::json;

use crate::helpers::{Answer, PASSWORD, Service, registration, spawn_with};

/// What was said on connections to each URL.
static SAID: LazyLock<Mutex<HashMap<String, Vec<String>>>> = LazyLock::new(Mutex::default);

/// Listens to one connection.
#[derive(Default)]
struct Listener(String);

impl Instrumentation for Listener {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match event {
            InstrumentationEvent::StartEstablishConnection { url, .. } => url.clone_into(&mut self.0),
            InstrumentationEvent::StartQuery { query, .. } => {
                let mut said = SAID.lock().unwrap();
                said.entry(self.0.clone()).or_default().push(query.to_string());
            }
            _ => {}
        }
    }
}

/// A service whose connections are listened to.
struct Counted(Service);

impl Counted {
    async fn spawn(change: impl FnOnce(&mut Config)) -> Self {
        set_default_instrumentation(|| Some(Box::new(Listener::default()))).unwrap();
        // With one connection no other is made, and set up, in the midst of what is counted.
        let one = |config: &mut Config| {
            config.database_pool = 1;
            change(config);
        };
        Self(spawn_with(one).await)
    }

    /// What has been said to its database since this was last asked for, without the worker's regular look into the outbox.
    fn said(&self) -> Vec<String> {
        let url = self.0.config.database_url.trim_start_matches("sqlite://");
        let mut said = SAID.lock().unwrap();
        let connections = said.iter_mut().filter(|(of, _)| of.starts_with(url));
        let statements = connections.flat_map(|(_, statements)| std::mem::take(statements));
        statements
            .filter(|statement| !statement.contains("FROM \"outbox\"") && !statement.contains("FROM `outbox`"))
            .collect()
    }

    /// Asserts what `request` costs: statements that begin with `expected`, each time. A connection that was not used for
    /// a second is asked first whether it still works; used all the time, it is not.
    async fn costs(&self, expected: &[&str], status: u16, request: impl AsyncFn(usize) -> Answer) {
        let mut asked = Vec::new();
        for time in 0..10 {
            self.said();
            let answer = request(time).await;
            assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
            let (pings, statements): (Vec<_>, Vec<_>) = self.said().into_iter().partition(|it| is_ping(it));
            assert_eq!(statements.len(), expected.len(), "{statements:#?}");
            for (statement, expected) in statements.iter().zip(expected) {
                assert!(statement.starts_with(expected), "{statements:#?}");
            }
            asked.push(pings.len());
        }
        assert!(asked.contains(&0), "{asked:?}");
    }
}

fn is_ping(statement: &str) -> bool {
    statement.trim_end().trim_end_matches(" -- binds: []") == "SELECT 1"
}

#[tokio::test]
async fn a_login_is_one_statement_and_so_are_a_registration_and_ones_own_account() {
    let service = Counted::spawn(|_| {}).await;
    let (_, superuser) = service.0.superuser("root").await;
    let ada = service.0.register("ada").await;
    let (id, token) = (ada["user"]["id"].as_str().unwrap(), ada["access"].as_str().unwrap());
    let path = format!("/api/user/{id}");
    let log_in = async |password: &str| {
        let body = json!({"username": "ada", "password": password});
        service.0.post("/token", &body).await
    };

    service.costs(&["SELECT"], 200, async |_| log_in(PASSWORD).await).await;
    service.costs(&["SELECT"], 401, async |_| log_in("wrong").await).await;
    let register = async |time| {
        let body = registration(&format!("grace{time}"));
        service.0.post("/api/auth/register", &body).await
    };
    service.costs(&["INSERT"], 201, register).await;
    // Which of the two is taken has to be looked up.
    service.costs(&["INSERT", "SELECT"], 400, register).await;
    service
        .costs(&["SELECT"], 200, async |_| service.0.get(&path, token).await)
        .await;
    // Who asks, and who is asked for.
    service
        .costs(&["SELECT", "SELECT"], 200, async |_| {
            service.0.get(&path, &superuser).await
        })
        .await;
    service
        .costs(&["SELECT", "SELECT"], 200, async |_| {
            service.0.get("/api/user", &superuser).await
        })
        .await;
}

#[tokio::test]
async fn a_login_that_renews_a_hash_is_two_statements() {
    let service = Counted::spawn(|_| {}).await;
    service.0.register("ada").await;
    let dearer = Counted::spawn(|config| {
        config.database_url.clone_from(&service.0.config.database_url);
        config.bcrypt_cost = 5;
    })
    .await;
    let cheap = service.0.database.passwords().remove(0);
    dearer
        .costs(&["SELECT", "UPDATE"], 200, async |_| {
            service
                .0
                .database
                .execute(&format!("UPDATE users SET password = '{cheap}'"));
            dearer.said();
            dearer.0.login("ada").await
        })
        .await;
}
