//! A reader of `text/event-stream`, from the living standard and from nothing of ours.

/// What a stream says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// An event as `onmessage` gets it: the last id and the data. `named` says that an `event:` line
    /// would keep `onmessage` from it.
    Event {
        id: String,
        data: String,
        named: bool,
    },
    /// How long to wait before a reconnect.
    Retry(u64),
    /// A line that clients pass over.
    Comment(String),
    /// An empty event: some clients choke on it.
    Phantom,
}

/// Reads a stream piece by piece.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    line: Vec<u8>,
    id: String,
    data: Vec<String>,
    named: bool,
}

impl Reader {
    /// What the piece completes.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Vec<Item> {
        let mut items = Vec::new();
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                let line = String::from_utf8_lossy(&line).into_owned();
                items.extend(self.line(line.trim_end_matches('\r')));
            } else {
                self.line.push(byte);
            }
        }
        items
    }

    fn line(&mut self, line: &str) -> Option<Item> {
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            let named = std::mem::take(&mut self.named);
            if data.is_empty() {
                return Some(Item::Phantom);
            }
            return Some(Item::Event {
                id: self.id.clone(),
                data: data.join("\n"),
                named,
            });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => return Some(Item::Comment(value.to_owned())),
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "data" => self.data.push(value.to_owned()),
            "event" => self.named = true,
            "retry" => return value.parse().ok().map(Item::Retry),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_in_pieces_reads_like_a_stream_in_one() {
        let text =
            "retry: 2000\n: keep-alive\nid: e-1\ndata: {\"a\":1}\n\ndata:x\ndata: y\n\n: bye\n";
        let whole = Reader::default().read(text.as_bytes());
        let mut reader = Reader::default();
        let pieces: Vec<_> = text
            .as_bytes()
            .chunks(3)
            .flat_map(|c| reader.read(c))
            .collect();
        assert_eq!(whole, pieces);
        let event = |id: &str, data: &str| Item::Event {
            id: id.to_owned(),
            data: data.to_owned(),
            named: false,
        };
        let comment = |text: &str| Item::Comment(text.to_owned());
        let expected = [
            Item::Retry(2000),
            comment("keep-alive"),
            event("e-1", "{\"a\":1}"),
            event("e-1", "x\ny"),
            comment("bye"),
        ];
        assert_eq!(whole, expected);
        assert_eq!(Reader::default().read(b"\n"), [Item::Phantom]);
    }
}
