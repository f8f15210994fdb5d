//! The network stands still, loses connections, crawls, or lets one direction through.

use std::time::Duration;

use super::{Scale, seconds, start};
use crate::chaos::{Figures, Kind, Shape};
use crate::{Stream, Weather};

/// An API is cut from Redis: heartbeats go on, and the rest comes within T.
pub(super) async fn an_api_cut_from_redis(scale: Scale) -> Figures {
    let weathers = [
        Weather::Stall,
        Weather::Refuse,
        Weather::CutToServer,
        Weather::CutToClient,
    ];
    let shape = Shape {
        pace: 120,
        ..Shape::default()
    };
    let run = start("network-api-cut", shape).await;
    for weather in &weathers[..scale.of(2, 4)] {
        let job = run.submit().await;
        run.watch_at(&job, 5, &[run.cluster.fronts()[0]]);
        let mut stream = Stream::open(&run.mare(0).subscribe_url(&job), None).await;
        run.until_templates(&job, 1).await;
        let cut = run.hurt_api(0, Kind::Redis(*weather), seconds(scale.of(1.5, 30.0)));
        let beats = async {
            for _ in 0..scale.of(2, 50) {
                stream.until_comment("keep-alive").await;
            }
        };
        let (struck, ()) = tokio::join!(cut, beats);
        assert!(struck);
    }
    run.finish().await.expect_clean()
}

/// Every connection to Redis becomes half-open: nothing says so, and nothing is missed.
pub(super) async fn half_open_connections(scale: Scale) -> Figures {
    let run = start("network-half-open", Shape::default()).await;
    for _ in 0..scale.of(2, 20) {
        let job = run.submit_watched(4).await;
        run.until_templates(&job, 2).await;
        for i in 0..2 {
            assert!(run.hurt_api(i, Kind::RedisStrand, Duration::ZERO).await);
            assert!(run.hurt_worker(i, Kind::RedisStrand, Duration::ZERO).await);
        }
        run.until_ended(&job).await;
    }
    run.finish().await.expect_clean()
}

/// All ways are slow at once, then drip.
pub(super) async fn bad_weather_everywhere(scale: Scale) -> Figures {
    let run = start("network-bad-weather", Shape::default()).await;
    let weathers = [
        Weather::Delay(Duration::from_millis(40)),
        Weather::Drip(64, Duration::from_millis(1)),
    ];
    for weather in weathers {
        let job = run.submit_watched(4).await;
        run.until_templates(&job, 1).await;
        let lasting = seconds(scale.of(1.0, 20.0));
        let (run, kind) = (&run, Kind::Redis(weather));
        let all = (0..2).flat_map(|i| {
            let api = futures::future::Either::Left(run.hurt_api(i, kind, lasting));
            let worker = futures::future::Either::Right(run.hurt_worker(i, kind, lasting));
            [api, worker]
        });
        assert!(
            futures::future::join_all(all)
                .await
                .into_iter()
                .all(|struck| struck)
        );
    }
    run.finish().await.expect_clean()
}

/// The way between watchers and the APIs: what a browser behind a train's network sees.
pub(super) async fn watchers_behind_a_bad_network(scale: Scale) -> Figures {
    let run = start("network-watchers", Shape::default()).await;
    for round in 0..scale.of(1, 10) {
        let job = run.submit_watched(10).await;
        run.until_templates(&job, 1).await;
        let api = round % 2;
        run.hurt_api(api, Kind::FrontReset, Duration::ZERO).await;
        run.hurt_api(api, Kind::Front(Weather::Stall), seconds(0.3))
            .await;
        run.hurt_api(
            api,
            Kind::Front(Weather::Drip(16, Duration::from_millis(1))),
            seconds(0.3),
        )
        .await;
        run.hurt_api(api, Kind::Front(Weather::CutToClient), seconds(0.3))
            .await;
        run.hurt_api(1 - api, Kind::Front(Weather::Refuse), seconds(0.2))
            .await;
    }
    run.finish().await.expect_clean()
}
