//! The real process, stopped and killed: what was acknowledged is still there, what was revoked does not come back.

use serde_json::{Value, json};

use crate::helpers::SignedIn;
use crate::process::{Place, Process};

async fn nothing_is_forgotten(stop: fn(Process)) {
    let place = Place::new();
    let process = Process::start(&place).await;
    let (kept, left) = (
        process.client.register("kept").await,
        process.client.register("left").await,
    );
    process.client.logout(&left).await.expect(205, Value::Null);
    stop(process);

    let process = Process::start(&place).await;
    process
        .client
        .home(&left.access)
        .await
        .expect(401, json!({"code": "token_not_valid"}));
    process
        .client
        .refresh(&left.refresh)
        .await
        .expect(401, json!({"detail": "Token is blacklisted"}));
    process.client.home(&kept.access).await.expect(200, json!({}));
    process.client.refresh(&kept.refresh).await.expect(200, json!({}));
    process.client.login("left").await;
}

#[tokio::test]
async fn a_restart_keeps_users_sessions_and_revocations() {
    nothing_is_forgotten(|process| assert!(process.terminate())).await;
}

#[tokio::test]
async fn so_does_a_restart_after_kill_9() {
    nothing_is_forgotten(Process::kill).await;
}

#[tokio::test]
async fn killed_under_load_it_keeps_every_acknowledged_registration_and_logout() {
    let place = Place::new();
    for round in 0..3 {
        let process = Process::start(&place).await;
        let (busy, mut enough) = tokio::sync::mpsc::channel(1);
        let workers = (0..4).map(|worker| {
            let (client, busy) = (process.client.clone(), busy.clone());
            tokio::spawn(async move {
                let (mut registered, mut revoked): (Vec<String>, Vec<SignedIn>) = (Vec::new(), Vec::new());
                for n in 0.. {
                    let name = format!("r{round}w{worker}n{n}");
                    let body = json!({"username": name, "email": format!("{name}@example.com"), "password": crate::helpers::PASSWORD});
                    let Ok(answer) = client.request("POST", "/api/auth/register").json(&body).send().await else { break };
                    let (201, Ok(body)) = (answer.status().as_u16(), answer.json::<Value>().await) else { break };
                    registered.push(name);
                    let text = |name: &str| body[name].as_str().unwrap().to_owned();
                    let user = SignedIn { id: String::new(), access: text("access"), refresh: text("refresh") };
                    let logout = client.request("POST", "/api/auth/logout").json(&json!({"refresh": user.refresh})).send().await;
                    match logout {
                        Ok(answer) if answer.status().as_u16() == 205 => revoked.push(user),
                        _ => break,
                    }
                    if revoked.len() == 10 {
                        let _ = busy.try_send(());
                    }
                }
                (registered, revoked)
            })
        });
        let workers: Vec<_> = workers.collect();
        drop(busy);
        enough.recv().await.expect("the load goes on");
        process.kill();
        let process = Process::start(&place).await;
        for worker in workers {
            let (registered, revoked) = worker.await.unwrap();
            for name in registered {
                process.client.login(&name).await;
            }
            for user in revoked {
                process
                    .client
                    .home(&user.access)
                    .await
                    .expect(401, json!({"code": "token_not_valid"}));
                process
                    .client
                    .refresh(&user.refresh)
                    .await
                    .expect(401, json!({"detail": "Token is blacklisted"}));
            }
        }
    }
}
