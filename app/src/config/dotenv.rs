//! The grammar of an env file, as Python's dotenv and docker compose read it. Where they differ:
//! a `#` after a blank begins a comment even where no value comes before it, and single quotes keep
//! `${NAME}` as it is (compose). Never in here: the process's own environment is not changed.
//!
//! ```text
//!   line:   [export] NAME [= value] [# comment]
//!   value:  'as it is, but \' and \\'  |  "with \n \t \" \\ and ${NAME}"  |  up to the end or a blank and #
//! ```

use std::collections::HashMap;

/// Most bytes of all values together, once `${NAME}` is replaced.
const MAX_VALUES: usize = 1024 * 1024;

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    /// Names with their values. The last one of a name counts.
    pub(super) values: Vec<(String, String)>,
    /// Lines that can't be read, from 1, with the name that they seem to set: also `AUTH: jwt` and
    /// `'AUTH'=jwt` do.
    pub(super) unreadable: Vec<(usize, String)>,
}

/// Reads the text. `environment` says what `${NAME}` is: it wins over the file.
///
/// # Errors
/// When the values are larger than is allowed, which takes `${NAME}` upon `${NAME}`.
pub(super) fn parse(
    text: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    let mut known = HashMap::new();
    let mut size = 0;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rest = Rest { text, line: 1 };
    while !rest.text.is_empty() {
        let (line, start) = (rest.line, rest.text);
        let Ok(assignment) = rest.assignment() else {
            // As little as possible: what follows may be fine.
            rest = Rest { text: start, line };
            parsed
                .unreadable
                .push((line, rest.seeming_name().to_owned()));
            rest.skip_line();
            continue;
        };
        let Some((name, value)) = assignment else {
            continue;
        };
        let value = value.expand(|name| environment(name).or_else(|| known.get(name).cloned()));
        size += value.len();
        if size > MAX_VALUES {
            return Err(format!("has values of more than {MAX_VALUES} bytes"));
        }
        known.insert(name.to_owned(), value.clone());
        parsed.values.push((name.to_owned(), value));
    }
    Ok(parsed)
}

/// Why a line can't be read is told by its number alone.
struct Unreadable;

/// A value as it stands in the file.
enum Value {
    /// In single quotes.
    Literal(String),
    /// In double quotes or none: with `${NAME}`.
    Template(String),
}

impl Value {
    fn expand(self, known: impl Fn(&str) -> Option<String>) -> String {
        let template = match self {
            Self::Literal(text) => return text,
            Self::Template(text) => text,
        };
        let mut expanded = String::new();
        let mut rest = template.as_str();
        while let Some(at) = rest.find("${") {
            let Some(length) = rest[at..].find('}') else {
                break;
            };
            let inside = &rest[at + 2..at + length];
            let (name, default) = inside.split_once(":-").unwrap_or((inside, ""));
            expanded += &rest[..at];
            expanded += known(name)
                .filter(|value| !value.is_empty())
                .as_deref()
                .unwrap_or(default);
            rest = &rest[at + length + 1..];
            if expanded.len() > MAX_VALUES {
                break;
            }
        }
        expanded + rest
    }
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() && !is_line_end(c)
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

/// What is not read yet.
struct Rest<'a> {
    text: &'a str,
    line: usize,
}

impl<'a> Rest<'a> {
    /// Takes so many bytes.
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, text) = self.text.split_at(length);
        self.line += taken.matches('\n').count();
        self.text = text;
        taken
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let length = self.text.find(|c| !fits(c)).unwrap_or(self.text.len());
        self.take(length)
    }

    fn skip_line(&mut self) {
        self.take_while(|c| c != '\n');
        self.take(self.text.len().min(1));
    }

    /// The name that the line begins with, past `export`.
    fn name(&mut self) -> &'a str {
        let is_name = |c: char| !c.is_whitespace() && !"=#'\"".contains(c);
        self.take_while(is_blank);
        let name = self.take_while(is_name);
        if name == "export" && self.text.starts_with(is_blank) {
            self.take_while(is_blank);
            return self.take_while(is_name);
        }
        name
    }

    /// The name that an unreadable line was meant to set, whatever is wrong around it.
    fn seeming_name(&mut self) -> &'a str {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        loop {
            self.take_while(|c| !(is_name(c) || c == '=' || is_line_end(c)));
            let name = self.take_while(is_name);
            if name != "export" {
                return name;
            }
        }
    }

    /// One line, and more where a quoted value has more; none: it sets nothing.
    fn assignment(&mut self) -> Result<Option<(&'a str, Value)>, Unreadable> {
        let name = self.name();
        self.take_while(is_blank);
        if !self.text.starts_with('=') {
            self.end_of_line()?;
            return Ok(None);
        }
        if name.is_empty() {
            return Err(Unreadable);
        }
        self.take(1);
        let blanks = self.take_while(is_blank);
        let value = match self.text.chars().next() {
            Some('\'') => Value::Literal(self.quoted('\'')?),
            Some('"') => Value::Template(self.quoted('"')?),
            _ => return Ok(Some((name, self.unquoted(!blanks.is_empty())))),
        };
        self.end_of_line()?;
        Ok(Some((name, value)))
    }

    /// A comment, if there is one, and the line's end.
    fn end_of_line(&mut self) -> Result<(), Unreadable> {
        self.take_while(is_blank);
        if !(self.text.is_empty() || self.text.starts_with(['#', '\n', '\r'])) {
            return Err(Unreadable);
        }
        self.skip_line();
        Ok(())
    }

    fn unquoted(&mut self, mut after_blank: bool) -> Value {
        let line = self.take_while(|c| !is_line_end(c));
        self.skip_line();
        let comment = line.char_indices().find(|(_, c)| {
            let is_comment = *c == '#' && after_blank;
            after_blank = is_blank(*c);
            is_comment
        });
        let value = comment.map_or(line, |(at, _)| &line[..at]);
        Value::Template(value.trim_end().to_owned())
    }

    fn quoted(&mut self, quote: char) -> Result<String, Unreadable> {
        let mut value = String::new();
        let mut characters = self.text.char_indices().skip(1);
        while let Some((at, c)) = characters.next() {
            if c == quote {
                self.take(at + 1);
                return Ok(value);
            }
            if c != '\\' {
                value.push(c);
                continue;
            }
            let (_, escaped) = characters.next().ok_or(Unreadable)?;
            match (quote, escaped) {
                (_, '\\') => value.push('\\'),
                (_, c) if c == quote => value.push(c),
                ('"', '\'') => value.push('\''),
                ('"', 'n') => value.push('\n'),
                ('"', 'r') => value.push('\r'),
                ('"', 't') => value.push('\t'),
                (_, c) => value.extend(['\\', c]),
            }
        }
        Err(Unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/home/ann".to_owned())
    }

    #[test]
    fn what_people_write() {
        for (text, expected) in [
            ("", &[][..]),
            ("# a comment\n\n  \t\n", &[]),
            ("A=b", &[("A", "b")]),
            ("A=b\nC=d\n", &[("A", "b"), ("C", "d")]),
            ("A=b\r\nC=d\r\n", &[("A", "b"), ("C", "d")]),
            ("\u{feff}A=b", &[("A", "b")]),
            ("export A=b", &[("A", "b")]),
            ("  export\tA = b  ", &[("A", "b")]),
            ("export=x", &[("export", "x")]),
            // No value is no setting; an empty one is.
            ("A", &[]),
            ("export A", &[]),
            ("A # c", &[]),
            ("A=", &[("A", "")]),
            ("A=   ", &[("A", "")]),
            ("A=\nB=c", &[("A", ""), ("B", "c")]),
            // As the existing service's file has it.
            ("A=  # Optional: a password", &[("A", "")]),
            ("A=\t# c\nB=1", &[("A", ""), ("B", "1")]),
            ("A=b # c", &[("A", "b")]),
            ("A=b\t#c", &[("A", "b")]),
            ("A=b#c", &[("A", "b#c")]),
            ("A=#c", &[("A", "#c")]),
            ("A=# c", &[("A", "# c")]),
            ("A='#' # c", &[("A", "#")]),
            ("A=\"b # c\"", &[("A", "b # c")]),
            ("A='b # c'# d", &[("A", "b # c")]),
            ("A=b c  d", &[("A", "b c  d")]),
            ("A=redis://:p@h:1/0?a=b", &[("A", "redis://:p@h:1/0?a=b")]),
            ("A=b=c==", &[("A", "b=c==")]),
            ("A='b'", &[("A", "b")]),
            ("A=\"\"", &[("A", "")]),
            ("A=b'c'", &[("A", "b'c'")]),
            (r"A=b\nc", &[("A", r"b\nc")]),
            (r"A='b\nc'", &[("A", r"b\nc")]),
            (r"A='it\'s \\'", &[("A", r"it's \")]),
            (r#"A="b\nc\t\"d\" \\ \'""#, &[("A", "b\nc\t\"d\" \\ '")]),
            (r#"A="\x""#, &[("A", r"\x")]),
            ("A=\"b\nc\"\nD=e", &[("A", "b\nc"), ("D", "e")]),
            ("A='b\r\nc'\r\nD=e", &[("A", "b\r\nc"), ("D", "e")]),
            ("A=ünï☃", &[("A", "ünï☃")]),
            ("A=b\nA=c", &[("A", "b"), ("A", "c")]),
            ("a.b-c=1", &[("a.b-c", "1")]),
            // What is set in the environment wins; what is nowhere is empty.
            ("A=${HOME}/x", &[("A", "/home/ann/x")]),
            ("A=\"${HOME}\"", &[("A", "/home/ann")]),
            ("A='${HOME}'", &[("A", "${HOME}")]),
            ("A=1\nB=${A}${A}", &[("A", "1"), ("B", "11")]),
            ("HOME=/x\nA=${HOME}", &[("HOME", "/x"), ("A", "/home/ann")]),
            ("A=${B}", &[("A", "")]),
            ("A=${B:-c}", &[("A", "c")]),
            ("A=$HOME", &[("A", "$HOME")]),
            ("A=p${b", &[("A", "p${b")]),
            ("A=p$}b", &[("A", "p$}b")]),
        ] {
            let parsed = parse(text, environment).expect(text);
            let owned = |(n, v): &(&str, &str)| ((*n).to_owned(), (*v).to_owned());
            let values: Vec<_> = expected.iter().map(owned).collect();
            assert_eq!(parsed.values, values, "{text:?}");
            assert_eq!(parsed.unreadable, [], "{text:?}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_costs_no_other() {
        for (text, line, name) in [
            ("A=\"b\nC=d", 1, "A"),
            ("A='b\nC=d", 1, "A"),
            ("A='b'c\nC=d", 1, "A"),
            ("\nA b\nC=d", 2, "A"),
            ("=b\nC=d", 1, ""),
            ("export A=\"b\\\nC=d", 1, "A"),
            ("'A'=b\nC=d", 1, "A"),
            ("\"A\"=b\nC=d", 1, "A"),
            ("A: b\nC=d", 1, "A"),
            ("- A: b\nC=d", 1, "A"),
            ("export 'A'=b\nC=d", 1, "A"),
            ("'\nC=d", 1, ""),
        ] {
            let parsed = parse(text, environment).expect(text);
            assert_eq!(parsed.unreadable, [(line, name.to_owned())], "{text:?}");
            let rest = [("C".to_owned(), "d".to_owned())];
            assert_eq!(parsed.values, rest, "{text:?}");
        }
    }

    #[test]
    fn values_do_not_grow_without_a_bound() {
        let doubled = |(from, to): (char, char)| format!("{to}=${{{from}}}${{{from}}}\n");
        let names = 'a'..='y';
        let text = format!("a={}\n", "x".repeat(64))
            + &names
                .clone()
                .zip(names.skip(1))
                .map(doubled)
                .collect::<String>();
        assert!(text.len() < 500);
        parse(&text, |_| None).expect_err("two to the power of 30 bytes");
    }
}
