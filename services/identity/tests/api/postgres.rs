//! Postgres goes away, comes back, says nothing: answers come in time, and nothing has to be restarted.

use std::time::Duration;

use portcullis_test_servers::{PostgresDatabase, Server, Signal, servers_or_skip};
use serde_json::json;
use service_kit::clock;

use crate::helpers::{Service, registration, spawn_with};

/// Two answers may not take longer: one waits for 8 s at most.
const IN_TIME: Duration = Duration::from_secs(25);
/// The service is well again this long after Postgres is.
const HEALED: Duration = Duration::from_secs(5);

async fn is_unavailable(service: &Service) {
    let registration = registration("late");
    let answers = async {
        (
            service.login("ada").await,
            service.post("/api/auth/register", &registration).await,
        )
    };
    let (login, register) = tokio::time::timeout(IN_TIME, answers).await.expect("answers in time");
    for answer in [login, register] {
        let said = (
            answer.status.as_u16(),
            &answer.body["code"],
            answer.header("retry-after"),
        );
        assert_eq!(said, (503, &json!("store_unavailable"), "1"), "{}", answer.text);
    }
    let ready = service.admin("/readyz").await;
    assert_eq!(ready.status, 503, "{}", ready.text);
}

async fn heals(service: &Service) {
    let began = clock::instant();
    loop {
        let login = service.login("ada").await;
        if login.status == 200 {
            break;
        }
        assert_eq!(login.status, 503, "{}", login.text);
        assert!(began.elapsed() < HEALED, "{}", login.text);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(service.admin("/readyz").await.status, 200);
}

async fn on(database: &PostgresDatabase) -> Service {
    spawn_with(|config| database.url().clone_into(&mut config.database_url)).await
}

#[tokio::test]
async fn a_postgres_that_stops_is_a_503_in_time_and_healed_from_without_a_restart() {
    let Some(server) = servers_or_skip("a Postgres that stops", Server::postgres).await else {
        return;
    };
    let database = PostgresDatabase::create_on(server.url());
    let service = on(&database).await;
    service.register("ada").await;
    for signal in [Signal::Interrupt, Signal::Quit] {
        server.stop(signal).await;
        is_unavailable(&service).await;
        // Once it is known to be away nobody waits for it.
        let began = clock::instant();
        for _ in 0..10 {
            assert_eq!(service.login("ada").await.status, 503);
        }
        assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
        server.start_again().await;
        heals(&service).await;
    }
    service.register("late").await;
}

#[tokio::test]
async fn a_postgres_that_restarts_between_two_requests_is_not_noticed() {
    let Some(server) = servers_or_skip("a Postgres that restarts", Server::postgres).await else {
        return;
    };
    let database = PostgresDatabase::create_on(server.url());
    let service = on(&database).await;
    service.register("ada").await;
    // Several connections, each of which the restart breaks.
    let logins = (0..8).map(|_| service.login("ada"));
    futures_util::future::join_all(logins).await;
    for _ in 0..3 {
        server.stop(Signal::Interrupt).await;
        server.start_again().await;
        // What was used a moment ago is trusted, so the first request may meet a broken connection; no second one does.
        let first = service.login("ada").await;
        assert!([200, 503].contains(&first.status.as_u16()), "{}", first.text);
        for _ in 0..8 {
            let login = service.login("ada").await;
            assert_eq!(login.status, 200, "{}", login.text);
        }
    }
}

#[tokio::test]
async fn a_postgres_that_says_nothing_is_a_503_in_time() {
    let Some(database) = PostgresDatabase::create_or_skip("a Postgres that says nothing") else {
        return;
    };
    let silent = Silenceable::start(database.url()).await;
    let service = spawn_with(|config| config.database_url = silent.url(database.url())).await;
    service.register("ada").await;
    silent.silence(true);
    is_unavailable(&service).await;
    silent.silence(false);
    heals(&service).await;
}

#[cfg(all(feature = "system-libpq", not(feature = "bundled-libpq")))]
#[tokio::test]
async fn with_the_systems_libpq_connections_are_encrypted_and_the_server_is_known() {
    let Some(server) = servers_or_skip("TLS to Postgres", Server::postgres).await else {
        return;
    };
    let stranger = Server::postgres().await;
    let database = PostgresDatabase::create_on(server.url());
    let verified = |certificate: &std::path::Path| {
        let (url, root) = (database.url(), certificate.display());
        format!("{url}?sslmode=verify-full&sslrootcert={root}")
    };
    for url in [
        format!("{}?sslmode=require", database.url()),
        verified(&server.certificate()),
    ] {
        let service = spawn_with(|config| config.database_url = url).await;
        service.login("nobody").await.is_problem(
            401,
            "no_active_account",
            "No active account found with the given credentials",
        );
        // Whoever asks is encrypted too, if only because it may be.
        database.execute(
            "DO $$ BEGIN
                IF EXISTS (SELECT 1 FROM pg_stat_activity LEFT JOIN pg_stat_ssl USING (pid)
                    WHERE application_name = 'portcullis-identity' AND ssl IS NOT TRUE)
                OR NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE application_name = 'portcullis-identity')
                THEN RAISE 'not encrypted'; END IF;
            END $$",
        );
    }
    let config = crate::helpers::config(&crate::database::TestDatabase::fresh());
    let config = portcullis_identity::Config {
        database_url: verified(&stranger.certificate()),
        ..config
    };
    let refused = portcullis_identity::Accounts::open(&config, service_kit::Clock::standing()).await;
    let refused = format!("{:#}", refused.err().expect("another server"));
    assert!(refused.contains("certificate verify failed"), "{refused}");
}

/// Stands in front of a server and, when told to, passes nothing on any more while keeping every connection open: what a
/// server that is stopped, or a network that swallows everything, looks like.
struct Silenceable {
    port: u16,
    is_silent: tokio::sync::watch::Sender<bool>,
}

impl Silenceable {
    async fn start(url: &str) -> Self {
        let server = address(url).to_owned();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (is_silent, silent) = tokio::sync::watch::channel(false);
        portcullis_test_servers::runtime().spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = tokio::net::TcpStream::connect(&server).await.unwrap();
                let (client, server) = (client.into_split(), server.into_split());
                tokio::spawn(pass_on(client.0, server.1, silent.clone()));
                tokio::spawn(pass_on(server.0, client.1, silent.clone()));
            }
        });
        Self { port, is_silent }
    }

    fn url(&self, url: &str) -> String {
        url.replacen(address(url), &format!("127.0.0.1:{}", self.port), 1)
    }

    fn silence(&self, is_silent: bool) {
        self.is_silent.send_replace(is_silent);
    }
}

fn address(url: &str) -> &str {
    let rest = url.split_once('@').expect("a user").1;
    rest.split_once('/').expect("a database").0
}

async fn pass_on(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut silent: tokio::sync::watch::Receiver<bool>,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if silent.wait_for(|silent| !silent).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
