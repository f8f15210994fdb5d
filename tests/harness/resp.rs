//! As much of Redis's protocol as an outsider needs: commands out, replies and messages in.
//!
//! A connection of its own, so that no client library stands between a test and what the store says.
//! It never reconnects by itself: whoever uses it decides what a lost connection means.

use std::io::{Error, ErrorKind, Result};
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No reply takes longer from a Redis that is well.
const LIMIT: Duration = Duration::from_secs(5);

/// What Redis answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`, or a string.
    Text(Vec<u8>),
    /// `-ERR …`
    Error(String),
    /// A number.
    Number(i64),
    /// Nothing.
    Nil,
    /// Several.
    List(Vec<Reply>),
}

impl Reply {
    /// Its text, lossily; a number as digits; empty for all else.
    pub fn text(&self) -> String {
        match self {
            Self::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Number(n) => n.to_string(),
            Self::Error(_) | Self::Nil | Self::List(_) => String::new(),
        }
    }

    /// Its items; none unless it is a list.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Resp {
    stream: BufReader<TcpStream>,
}

impl Resp {
    /// Connects to a port of this machine.
    pub async fn open(port: u16) -> Result<Self> {
        let stream = timeout(LIMIT, TcpStream::connect((Ipv4Addr::LOCALHOST, port))).await??;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Sends a command and reads its reply. An error of Redis's is an error here.
    pub async fn ask(&mut self, words: &[&[u8]]) -> Result<Reply> {
        self.send(words).await?;
        match timeout(LIMIT, self.next()).await?? {
            Reply::Error(error) => Err(Error::other(error)),
            reply => Ok(reply),
        }
    }

    /// As [`Resp::ask`], for words of text.
    pub async fn say(&mut self, words: &[&str]) -> Result<Reply> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.ask(&words).await
    }

    /// Sends a command and waits for nothing.
    pub async fn send(&mut self, words: &[&[u8]]) -> Result<()> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        timeout(LIMIT, self.stream.get_mut().write_all(&bytes)).await?
    }

    /// The next reply, or message of a subscription, however long it takes.
    pub async fn next(&mut self) -> Result<Reply> {
        // Lists nest, and an async fn that calls itself needs a box: a stack of open lists doesn't.
        let mut open: Vec<(usize, Vec<Reply>)> = Vec::new();
        loop {
            let mut reply = match self.line().await? {
                (b'*', count) if number(&count)? > 0 => {
                    open.push((number(&count)? as usize, Vec::new()));
                    continue;
                }
                (b'*', count) if number(&count)? == 0 => Reply::List(Vec::new()),
                (b'*', _) => Reply::Nil,
                (b'$', length) => match usize::try_from(number(&length)?) {
                    Ok(length) => Reply::Text(self.bulk(length).await?),
                    Err(_) => Reply::Nil,
                },
                (b'+', text) => Reply::Text(text.into_bytes()),
                (b'-', text) => Reply::Error(text),
                (b':', digits) => Reply::Number(number(&digits)?),
                (other, _) => return Err(invalid(&format!("a reply that begins with {other}"))),
            };
            loop {
                let Some((count, mut items)) = open.pop() else {
                    return Ok(reply);
                };
                items.push(reply);
                if items.len() < count {
                    open.push((count, items));
                    break;
                }
                reply = Reply::List(items);
            }
        }
    }

    async fn line(&mut self) -> Result<(u8, String)> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await?;
        let Some(text) = line.strip_suffix(b"\r\n") else {
            return Err(ErrorKind::UnexpectedEof.into());
        };
        match text.split_first() {
            Some((kind, rest)) => Ok((*kind, String::from_utf8_lossy(rest).into_owned())),
            None => Err(invalid("an empty line")),
        }
    }

    async fn bulk(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes).await?;
        bytes.truncate(length);
        Ok(bytes)
    }
}

fn number(digits: &str) -> Result<i64> {
    digits.parse().map_err(|_| invalid(digits))
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Persistence, Redis};

    #[tokio::test]
    async fn every_kind_of_reply_is_read() {
        let redis = Redis::start(Persistence::None);
        let mut resp = Resp::open(redis.port()).await.expect("it listens");
        let set = resp.say(&["SET", "a", "ü\r\n"]).await.expect("an answer");
        assert_eq!(set.text(), "OK");
        let got = resp.say(&["GET", "a"]).await.expect("an answer");
        assert_eq!(got.text(), "ü\r\n");
        assert_eq!(
            resp.say(&["GET", "b"]).await.expect("an answer"),
            Reply::Nil
        );
        let nested = ["EVAL", "return {1,{'x',{}},false}", "0"];
        let nested = resp.say(&nested).await.expect("an answer");
        let inner = Reply::List(vec![Reply::Text(b"x".to_vec()), Reply::List(Vec::new())]);
        assert_eq!(
            nested,
            Reply::List(vec![Reply::Number(1), inner, Reply::Nil])
        );
        let error = resp.say(&["NONSENSE"]).await.expect_err("refused");
        assert!(error.to_string().contains("unknown command"), "{error}");
        resp.say(&["SUBSCRIBE", "c"]).await.expect("confirmed");
        redis.cli(&["PUBLISH", "c", "hello"]);
        assert_eq!(
            resp.next().await.expect("a message").items()[2].text(),
            "hello"
        );
    }
}
