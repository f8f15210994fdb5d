//! The bodies of a commit's templates on their way: each goes under its key in a command of its own right before
//! the script that keeps it, for a script takes twice as long over large arguments. Until that has run they have
//! a time to live, and are in no answer: a commit that is refused leaves nothing that stays.
//!
//! Never in here: a command that writes over a template that is kept.

use std::time::Duration;

use conch_domain::Template;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisResult, ScriptInvocation, ServerErrorKind, Value, pipe};

use crate::records::millis;

/// How long a body waits for its commit. One that comes later is sent with its bodies again.
const WAITS: Duration = Duration::from_mins(10);
/// How often a commit is sent whose bodies were gone before it.
const TRIES: usize = 3;
/// What the script answers then.
pub(crate) const UNSTAGED: &str = "unstaged";

/// A template's key and body.
pub(crate) type Staged<'a> = (String, &'a Template);

/// Runs a script after the bodies that it names. All of it may be repeated: what is there already stays as it is.
pub(crate) async fn run(
    connection: &mut MultiplexedConnection,
    bodies: &[Staged<'_>],
    script: &ScriptInvocation<'_>,
) -> RedisResult<Vec<String>> {
    let mut both = pipe();
    both.ignore_errors();
    for (key, template) in bodies {
        let body = template.object.as_json();
        // NX: a template that is kept must not get a time to live by a commit that comes again.
        let set = both.cmd("SET").arg(key).arg(body);
        set.arg("PX").arg(millis(WAITS)).arg("NX");
    }
    both.invoke_script(script);
    let mut tries = 0;
    loop {
        tries += 1;
        let mut answers: Vec<RedisResult<Value>> = both.query_async(connection).await?;
        let answer = answers.pop().expect("each command is answered");
        let refused = answers.into_iter().find_map(RedisResult::err);
        match answer {
            Err(error) if is_unknown(&error) && tries < TRIES => {
                script.load_async(connection).await?;
            }
            Err(error) => return Err(error),
            Ok(answer) => {
                let answer = Vec::<String>::from_redis_value(answer)?;
                let is_unstaged = answer.first().is_some_and(|word| word == UNSTAGED);
                match refused {
                    Some(refused) if is_unstaged => return Err(refused),
                    // They were evicted at once, or deleted.
                    None if is_unstaged && tries < TRIES => {}
                    _ => return Ok(answer),
                }
            }
        }
    }
}

/// Whether Redis has forgotten the script.
fn is_unknown(error: &redis::RedisError) -> bool {
    error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript)
}
