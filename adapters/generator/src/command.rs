//! A user's program as a generator: one run per template, with the request on stdin and the template on
//! stdout, each a single JSON object.
//!
//! The command line is split into words like a shell's, but no shell runs it: there are no variables and no
//! pipes, unless it is `sh -c '…'`. The program runs in its own process group, which is killed when the
//! program ends, when its time is over and when the future is dropped; its child processes must stay in
//! that group. Its stderr and its path are for the operator: they are in the source of an error, never in
//! its message. Never in here: waiting without a limit, or for a program that doesn't read its stdin.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use conch_domain::WrittenDraft;
use conch_ports::{Brief, Error, ErrorKind, Result, TemplateGenerator};
use conch_wire::draft::{self, Place};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

const OPERATION: &str = "template_generator.generate";
/// How much of the end of stderr an error's source quotes, in bytes; and of a fault, in characters.
const TAIL: usize = 4 * 1024;

/// A command line that can't be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A quote is not closed, or there are no words.
    #[error("the command line is empty or has an open quote")]
    CommandLine,
    /// The time or output limit is 0.
    #[error("the time limit and the output limit must be greater than 0")]
    Limit,
}

/// How the program is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The command line, quoted as for a shell.
    pub command_line: String,
    /// Time limit of a run, after which the program is killed.
    pub timeout: Duration,
    /// Most bytes that it may write to stdout.
    pub output_limit: usize,
    /// Environment variables that the program doesn't inherit, such as our own secrets.
    pub withheld: Vec<String>,
}

impl Settings {
    /// A command line with defaults: two minutes, 1 MiB, the whole environment.
    pub fn new(command_line: impl Into<String>) -> Self {
        Self {
            command_line: command_line.into(),
            timeout: Duration::from_mins(2),
            output_limit: 1024 * 1024,
            withheld: Vec::new(),
        }
    }

    /// Builds the generator without running anything.
    ///
    /// # Errors
    /// When the command line can't be split into words, or a limit is 0.
    pub fn build(self) -> Result<Arc<dyn TemplateGenerator>, Invalid> {
        if self.timeout.is_zero() || self.output_limit == 0 {
            return Err(Invalid::Limit);
        }
        let words = shlex::split(&self.command_line).unwrap_or_default();
        match words.split_first() {
            Some((program, arguments)) if !program.is_empty() => Ok(Arc::new(External {
                program: program.clone(),
                arguments: arguments.to_vec(),
                settings: self,
            })),
            _ => Err(Invalid::CommandLine),
        }
    }
}

struct External {
    program: String,
    arguments: Vec<String>,
    settings: Settings,
}

#[async_trait]
impl TemplateGenerator for External {
    async fn generate(&self, brief: &Brief) -> Result<WrittenDraft> {
        let mut complaint = Vec::new();
        let limit = self.settings.timeout;
        let run = tokio::time::timeout(limit, self.run(brief, &mut complaint)).await;
        let output = run.unwrap_or_else(|_| {
            hit("generator_timeout_seconds");
            let what = format!("did not end within {} ms and was killed", limit.as_millis());
            Err(self.error(ErrorKind::Timeout, &what, "", &complaint))
        })?;
        read(&output, brief).map_err(|fault| {
            let what = format!("printed no valid template: {fault}");
            self.error(ErrorKind::BadResponse, &what, "", &complaint)
        })
    }
}

impl External {
    async fn run(&self, brief: &Brief, complaint: &mut Vec<u8>) -> Result<Vec<u8>> {
        let (mut child, group) = self.spawn()?;
        let request = request(brief);
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let written = async {
            if let Some(mut stdin) = stdin {
                // A program may close its stdin without reading it.
                stdin.write_all(&request).await.ok();
            }
            Ok(())
        };
        let printed = bounded(stdout, self.settings.output_limit);
        let complained = async {
            keep_tail(stderr, complaint).await;
            Ok(())
        };
        let ended = async {
            let status = child.wait().await.map_err(Stopped::Io);
            // Child processes that are still running would keep the pipes open.
            drop(group);
            status
        };
        let outcome = tokio::try_join!(written, printed, complained, ended);
        let (kind, what, why) = match outcome {
            Ok(((), output, (), status)) if status.success() => return Ok(output),
            Ok((.., status)) => {
                // 126 and 127 are a shell's "can't run it"; the others are sysexits' usage, data and
                // configuration errors. All of them would occur again.
                let kind = match status.code() {
                    Some(64 | 65 | 78 | 126 | 127) => ErrorKind::Refused,
                    _ => ErrorKind::Unavailable,
                };
                (kind, format!("failed ({status})"), String::new())
            }
            Err(Stopped::TooLong) => {
                let limit = self.settings.output_limit;
                hit("generator_output_bytes");
                (
                    ErrorKind::BadResponse,
                    format!("printed more than {limit} bytes"),
                    String::new(),
                )
            }
            Err(Stopped::Io(e)) => {
                let what = "could not be read from".to_owned();
                (ErrorKind::Unavailable, what, e.to_string())
            }
        };
        Err(self.error(kind, &what, &why, complaint))
    }

    fn spawn(&self) -> Result<(Child, Group)> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        for name in &self.settings.withheld {
            command.env_remove(name);
        }
        let child = command.spawn().map_err(|e| {
            use std::io::ErrorKind::{NotFound, PermissionDenied};
            let kind = match e.kind() {
                NotFound | PermissionDenied => ErrorKind::Refused,
                _ => ErrorKind::Unavailable,
            };
            self.error(kind, "could not be started", &e.to_string(), b"")
        })?;
        let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
        Ok((child, group))
    }

    /// `what` is shown to everyone; `why` and the program's stderr only to the operator.
    fn error(&self, kind: ErrorKind, what: &str, why: &str, complaint: &[u8]) -> Error {
        let mut source = format!("the command `{}`", self.program);
        if !why.is_empty() {
            // A fault may quote the output.
            source = format!("{source}: {}", why.chars().take(TAIL).collect::<String>());
        }
        let complaint = String::from_utf8_lossy(complaint);
        if !complaint.trim().is_empty() {
            source = format!("{source}; it said: {}", complaint.trim());
        }
        Error::new(kind, OPERATION, format!("the generator {what}"))
            .with_source(source.replace(char::is_control, " "))
    }
}

/// The template in an answer, or the rules that it breaks, without quoting the answer.
fn read(output: &[u8], brief: &Brief) -> Result<WrittenDraft, String> {
    let draft = draft::decode(output).map_err(|e| e.to_string())?;
    let (category, audience) = (brief.item.category, brief.item.audience);
    if draft.category != category {
        return Err(format!("category: must be {}, as asked", category.as_str()));
    }
    if draft.target_audience != audience {
        let asked = audience.as_str();
        return Err(format!("target_audience: must be {asked}, as asked"));
    }
    Ok(draft::written(draft))
}

/// Counts a run that was stopped at a limit, under the setting's name.
fn hit(limit: &'static str) {
    metrics::counter!("conch_limits_hit_total", "limit" => limit).increment(1);
}

fn request(brief: &Brief) -> bytes::Bytes {
    let place = Place {
        index: brief.index,
        total: brief.total,
        attempt: brief.attempt,
        try_number: brief.try_number,
        last_failure: brief.last_failure.as_deref(),
        names: &brief.names,
    };
    draft::encode_brief(
        &brief.job_id,
        &brief.client,
        &brief.value_proposition,
        brief.item,
        place,
    )
}

/// The program and its child processes; dropping this kills all of them.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // No process left is the desired state.
            kill_process_group(pid, Signal::KILL).ok();
        }
    }
}

enum Stopped {
    TooLong,
    Io(std::io::Error),
}

async fn bounded(pipe: Option<impl AsyncRead + Unpin>, limit: usize) -> Result<Vec<u8>, Stopped> {
    let mut output = Vec::new();
    if let Some(pipe) = pipe {
        let mut pipe = pipe.take(limit as u64 + 1);
        pipe.read_to_end(&mut output).await.map_err(Stopped::Io)?;
    }
    if output.len() > limit {
        return Err(Stopped::TooLong);
    }
    Ok(output)
}

async fn keep_tail(pipe: Option<impl AsyncRead + Unpin>, tail: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = [0; TAIL];
    while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
        tail.extend_from_slice(&chunk[..read]);
        tail.drain(..tail.len().saturating_sub(TAIL));
    }
}
