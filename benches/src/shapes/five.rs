//! W1 five: a thousand running jobs with five watchers each, events spread over the jobs.
//!
//! Measured as `live` is; only the audience is another one.

use anyhow::Result;

use super::{
    Options, live,
    watched::{Paces, Subject},
};
use crate::{
    flow::Pace,
    report::{Section, Verdict},
    servers::Kind,
};

const SHAPE: &str = "W1 five";
const EACH: usize = 5;

/// Measures and reports.
pub(crate) fn measure(options: &Options) -> Result<Section> {
    let jobs = options.size(1_000);
    let paces = Paces {
        rest: options.window(25),
        usual: Pace {
            per_second: live::PER_SECOND,
            duration: options.window(25),
        },
        fast: None,
    };
    let (runs, buses) = live::measure_all(SHAPE, jobs, EACH, paces, options)?;
    let of = |subject| live::micros(&runs, subject, live::server);
    let (nchan, written) = (
        of(Subject::External(Kind::Nchan)),
        of(Subject::External(Kind::Writeloop)),
    );
    let mut verdicts = Vec::new();
    for subject in [Subject::Own, Subject::External(Kind::Conch)] {
        let name = subject.name();
        let ratio = |of: Option<f64>| Some(live::micros(&runs, subject, live::server)? / of?);
        let redis = live::micros(&runs, subject, live::redis);
        verdicts.extend([
            Verdict::at_most(
                SHAPE,
                format!("{name}: API, of the write loop"),
                ratio(written),
                2.5,
                " ×",
            )
            .beside("write loop", written, " µs"),
            Verdict::at_most(
                SHAPE,
                format!("{name}: API, of nchan"),
                ratio(nchan),
                1.0,
                " ×",
            )
            .beside("nchan", nchan, " µs"),
            Verdict::at_most(
                SHAPE,
                format!("{name}: Redis per delivery"),
                redis,
                16.0,
                " µs",
            ),
        ]);
    }
    Ok(Section {
        title: "W1 five: a thousand running jobs, five watchers each, 200 events/s",
        method: live::method(options, jobs, EACH, paces),
        tables: vec![live::table(&runs, &buses)],
        verdicts,
    })
}
