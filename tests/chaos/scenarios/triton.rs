//! Triton is down, slow, or answers garbage: lookups say so with a clear code, streams go on from the log.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{Scale, seconds, start};
use crate::Weather;
use crate::chaos::{Figures, Kind, Shape};
use crate::conch::Plan;

/// What something that isn't Triton says.
const GARBAGE: &[&str] = &[
    "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 15\r\n\r\n<html>hi</html>",
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{\"id\":\"tr",
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
    "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
    "220 mail.example.com ESMTP\r\n",
];

/// 502 or 504 on lookups with a clear code, and every stream as if nothing were.
pub(super) async fn down_slow_and_garbage(scale: Scale) -> Figures {
    let shape = Shape {
        pace: scale.of(80, 150),
        ..Shape::default()
    };
    let run = start("triton-ill", shape).await;
    let mare = run.mare(0);
    for (weather, status, codes) in [
        (Weather::Refuse, 502, &["upstream-unavailable"][..]),
        // Once a breaker is open it is unavailable at once.
        (Weather::Stall, 504, &["upstream-timeout"][..]),
    ] {
        let job = run.submit_watched(5).await;
        run.until_templates(&job, 1).await;
        let lasting = seconds(scale.of(3.0, 20.0));
        let ill = [0, 1].map(|i| run.hurt_worker(i, Kind::Front(weather), lasting));
        let lookup = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let answer = mare.get("/jobs/never-heard-of").await;
            assert_eq!(
                answer.status.as_u16(),
                status,
                "{weather:?}: {}",
                answer.body
            );
            let code = answer.json(status)["code"]
                .as_str()
                .unwrap_or("")
                .to_owned();
            assert!(codes.contains(&code.as_str()), "{weather:?}: {code}");
            // What the log knows needs no Triton.
            assert_eq!(mare.job(&job).await["job_id"], job.as_str());
        };
        let (struck, ()) = tokio::join!(futures::future::join_all(ill), lookup);
        assert_eq!(struck, [true, true]);
    }
    for garbage in &GARBAGE[..scale.of(2, GARBAGE.len())] {
        let impostor = impostor(garbage).await;
        let redis = run.cluster.redis.lock().await;
        let plan = Plan::api(&redis, &format!("http://127.0.0.1:{impostor}"));
        drop(redis);
        let api = plan.env("TRITON_TIMEOUT_SECONDS", "1").start().await;
        let job = run.submit().await;
        run.watch_at(&job, 3, &[api.mare_port()]);
        let answer = api.mare().get("/jobs/never-heard-of").await;
        let code = answer.json(answer.status.as_u16())["code"].clone();
        assert_eq!(answer.status.as_u16(), 502, "{garbage:?}: {}", answer.body);
        assert_eq!(code, "upstream-bad-response", "{garbage:?}");
        run.until_ended(&job).await;
        // Before this API goes, its watchers must have been told to stop.
        run.until_told_to_stop(&job).await;
    }
    run.finish().await.expect_clean()
}

/// Answers every request with the same bytes, and hangs up.
async fn impostor(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((mut peer, _)) = listener.accept().await {
            tokio::spawn(async move {
                let read = peer.read(&mut [0; 4096]).await;
                if read.is_ok() {
                    // Whether it is heard is no matter.
                    drop(peer.write_all(answer.as_bytes()).await);
                }
            });
        }
    });
    port
}
