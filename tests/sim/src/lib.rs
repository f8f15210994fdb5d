//! The protocol apart from the network: the real services on the real store in memory, in virtual time,
//! with every call of every port waiting until a seed decides what becomes of it.
//!
//! `run` makes one run of a plan, `check` judges what it left behind, `planted` has bugs that the checker
//! must find, `explore` goes through all decisions of small systems.

mod board;
mod campaign;
mod chance;
mod channel;
mod check;
mod clients;
mod digest;
mod explore;
mod fold;
mod gate;
mod generator;
mod history;
mod moves;
mod plan;
pub mod planted;
mod process;
mod report;
mod run;
mod shown;
mod sse;
mod store;
mod triton;
mod world;

pub use campaign::{
    Campaign, Found, Replay, explore_all, find, find_by_exploring, replay, run_seeds,
};
pub use explore::Explored;
pub use report::Report;
