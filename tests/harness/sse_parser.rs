//! `text/event-stream`, parsed incrementally and by the letter (HTML Living Standard §9.2).
//!
//! A browser forgives; this doesn't. What the standard allows but contract §6 rules out (an `event:`
//! line, a blank line that ends no event, which makes some clients emit an empty one) is a violation.

/// What a parser found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A dispatched event.
    Event {
        /// The id that a reconnect would send from now on.
        id: String,
        /// Its data lines, joined with LF.
        data: String,
    },
    /// A comment, without its colon and one space.
    Comment(String),
    /// `retry:`, in milliseconds.
    Retry(u64),
    /// Something that must not be in a stream of ours.
    Violation(String),
}

/// The state between two pieces of a stream.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    id: String,
    data: Option<String>,
    id_seen: bool,
    previous: Previous,
}

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
enum Previous {
    #[default]
    Nothing,
    Field,
    Comment,
    Blank,
}

impl Parser {
    /// Takes the next bytes, cut wherever the network cut them, and gives what they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Item> {
        let mut items = Vec::new();
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.line(&line, &mut items);
            } else {
                self.line.push(*byte);
            }
        }
        items
    }

    /// What a stream that ended here left unfinished; a browser throws it away.
    pub fn unfinished(&self) -> Option<String> {
        let dangling = !self.line.is_empty() || self.data.is_some();
        dangling.then(|| {
            format!(
                "the stream ends within an event: {:?}",
                String::from_utf8_lossy(&self.line)
            )
        })
    }

    fn line(&mut self, line: &[u8], items: &mut Vec<Item>) {
        let Ok(line) = std::str::from_utf8(line) else {
            items.push(Item::Violation(format!("not UTF-8: {line:?}")));
            return;
        };
        if line.contains('\r') {
            items.push(Item::Violation(format!("a CR in {line:?}")));
        }
        if line.is_empty() {
            self.blank(items);
            self.previous = Previous::Blank;
        } else if let Some(comment) = line.strip_prefix(':') {
            let comment = comment.strip_prefix(' ').unwrap_or(comment);
            items.push(Item::Comment(comment.to_owned()));
            self.previous = Previous::Comment;
        } else {
            self.field(line, items);
            self.previous = Previous::Field;
        }
    }

    fn blank(&mut self, items: &mut Vec<Item>) {
        if self.previous != Previous::Field || self.data.is_none() {
            items.push(Item::Violation(format!(
                "a blank line after {:?}",
                self.previous
            )));
        }
        if let Some(data) = self.data.take() {
            if !self.id_seen {
                items.push(Item::Violation(format!("an event without an id: {data}")));
            }
            items.push(Item::Event {
                id: self.id.clone(),
                data,
            });
        }
        self.id_seen = false;
    }

    fn field(&mut self, line: &str, items: &mut Vec<Item>) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => {
                value.clone_into(&mut self.id);
                self.id_seen = true;
            }
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "retry" => match value.parse() {
                Ok(millis) => items.push(Item::Retry(millis)),
                Err(_) => items.push(Item::Violation(format!("retry: {value:?}"))),
            },
            // `event:` above all: with it a browser's `onmessage` does not fire.
            _ => items.push(Item::Violation(format!("the line {line:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "retry: 2000\nid: a-1\ndata: {\"x\":\"ü\"}\n\n: keep-alive\nid: a-2\n\
                          data: {}\n\n: Connection closing - job completed\n";

    fn event(id: &str, data: &str) -> Item {
        Item::Event {
            id: id.to_owned(),
            data: data.to_owned(),
        }
    }

    #[test]
    fn a_stream_is_the_same_however_the_network_cuts_it() {
        let whole = Parser::default().feed(STREAM.as_bytes());
        assert_eq!(
            whole,
            [
                Item::Retry(2000),
                event("a-1", r#"{"x":"ü"}"#),
                Item::Comment("keep-alive".into()),
                event("a-2", "{}"),
                Item::Comment("Connection closing - job completed".into()),
            ]
        );
        for size in 1..STREAM.len() {
            let mut parser = Parser::default();
            let items: Vec<Item> = STREAM
                .as_bytes()
                .chunks(size)
                .flat_map(|piece| parser.feed(piece))
                .collect();
            assert_eq!(items, whole, "in pieces of {size}");
            assert_eq!(parser.unfinished(), None);
        }
    }

    #[test]
    fn what_a_browser_forgives_is_a_violation() {
        for bad in [
            ": keep-alive\n\n",
            "retry: 2000\n\n",
            "id: 1\n\n",
            "event: x\nid: 1\ndata: 1\n\n",
            "data: no id\n\n",
            "id: 1\r\ndata: 1\r\n\r\n",
            "retry: soon\n\n",
            "id: 1\ndata: 1\n\n\n",
            "data : 1\n\n",
        ] {
            let items = Parser::default().feed(bad.as_bytes());
            assert!(
                items.iter().any(|i| matches!(i, Item::Violation(_))),
                "{bad:?} gave {items:?}"
            );
        }
    }

    #[test]
    fn an_event_that_was_cut_off_is_never_dispatched() {
        let mut parser = Parser::default();
        assert_eq!(parser.feed(b"id: 1\ndata: {}\n"), []);
        assert!(parser.unfinished().is_some());
    }
}
