//! Both generators against the port's laws: the built-in one on arbitrary text, the command with real programs.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod builtin;
mod checker;
mod command;

use conch_domain::{Client, Metadata, PLAN, Timestamp, ValueProposition};
use conch_ports::Brief;

const TEXT: &str = "We cut 30-day readmissions by 18% within 12 months and save $2.4 million. \
    Prior authorization takes 6 hours. Medication adherence rises 25 percent.";

fn brief(name: &str, industry: Option<&str>, content: &str, index: usize) -> Brief {
    let now = Timestamp::from_micros(0);
    let client_id: conch_domain::ClientId = "c1".parse().unwrap();
    Brief {
        job_id: "j1".parse().unwrap(),
        client: Client {
            id: client_id.clone(),
            name: name.to_owned(),
            industry: industry.map(str::to_owned),
            meta_data: Metadata::default(),
            created_at: now,
            updated_at: now,
        },
        value_proposition: ValueProposition {
            id: "v1".parse().unwrap(),
            client_id,
            content: content.to_owned(),
            is_active: true,
            meta_data: Metadata::default(),
            created_at: now,
            updated_at: now,
        },
        item: PLAN[index],
        index: index as u32 + 1,
        total: 7,
        attempt: 1,
        try_number: 1,
        last_failure: None,
        names: Vec::new(),
    }
}
