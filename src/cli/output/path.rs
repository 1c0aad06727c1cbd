//! JSONPath as kubectl takes it, in terms of RFC 9535, which a library reads.
//!
//! kubectl's dialect has names with `-` and `/` without quotes, `\.` for a dot in a name, and a path may begin at the
//! current object.

use std::{iter::Peekable, str::CharIndices};

use jsonpath_rust::{
    parser::{model::JpQuery, parse_json_path},
    query::js_path_process,
};
use serde_json::Value;

/// A path from an object to what is in it.
#[derive(Clone, Debug)]
pub struct Path {
    query: JpQuery,
    /// It begins at the outermost object, wherever it is read.
    from_root: bool,
}

impl Path {
    /// Reads one, with or without braces and a dot at its beginning.
    pub fn relaxed(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let inner = trimmed.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(trimmed);
        Self::parse(inner)
    }

    /// Reads one without braces.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("a path is missing, such as .metadata.name".to_owned());
        }
        let from_root = text.starts_with('$');
        let mut scanner = Scanner { text, chars: text.char_indices().peekable() };
        if matches!(scanner.peek(), Some('$' | '@')) {
            scanner.chars.next();
        }
        let standard = format!("${}", scanner.segments(false)?);
        let query = parse_json_path(&standard)
            .map_err(|_| format!("{text:?} is no path: write it like .items[*].metadata.name"))?;
        Ok(Self { query, from_root })
    }

    /// What it leads to; nothing where it leads nowhere.
    pub fn find<'a>(&self, root: &'a Value, here: &'a Value) -> Vec<&'a Value> {
        let from = if self.from_root { root } else { here };
        js_path_process(&self.query, from).map(|found| found.into_iter().map(|f| f.val).collect()).unwrap_or_default()
    }
}

struct Scanner<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
}

impl Scanner<'_> {
    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|(_, c)| *c)
    }

    fn wrong(&self, what: &str) -> String {
        format!("{:?} is no path: {what}", self.text)
    }

    /// The segments from here on, in brackets as far as they are names; within a filter up to what is no path.
    fn segments(&mut self, in_filter: bool) -> Result<String, String> {
        let mut out = String::new();
        loop {
            match self.peek() {
                None => return Ok(out),
                Some('.') => {
                    self.chars.next();
                    let deep = self.peek() == Some('.');
                    if deep {
                        self.chars.next();
                        out.push_str("..");
                    }
                    match self.peek() {
                        Some('[') => {}
                        Some('*') => {
                            self.chars.next();
                            out.push_str("[*]");
                        }
                        // `{.}` is the object itself.
                        None if !deep && out.is_empty() => {}
                        _ => out.push_str(&self.name()?),
                    }
                }
                Some('[') => out.push_str(&self.brackets()?),
                Some(c) if in_filter && !(c.is_alphanumeric() || c == '_') => return Ok(out),
                Some(_) if out.is_empty() => out.push_str(&self.name()?),
                Some(c) => return Err(self.wrong(&format!("{c:?} is not expected there"))),
            }
        }
    }

    /// A name, as `['name']`.
    fn name(&mut self) -> Result<String, String> {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            match c {
                '\\' => {
                    self.chars.next();
                    name.extend(self.chars.next().map(|(_, c)| c));
                }
                '.' | '[' | ']' | '(' | ')' | '=' | '!' | '<' | '>' | '&' | '|' | ',' => break,
                c if c.is_whitespace() => break,
                c => {
                    self.chars.next();
                    name.push(c);
                }
            }
        }
        if name.is_empty() {
            return Err(self.wrong("a name is missing"));
        }
        Ok(format!("['{}']", name.replace('\\', r"\\").replace('\'', r"\'")))
    }

    /// What is in brackets, with them: numbers, slices, quoted names and `*` are the same in both dialects.
    fn brackets(&mut self) -> Result<String, String> {
        let mut out = String::new();
        let mut depth = 0_usize;
        let at = self.at();
        let filter = self.text[at..].starts_with("[?");
        while let Some((_, c)) = self.chars.next() {
            match c {
                '\'' | '"' => {
                    out.push(c);
                    self.quoted(c, &mut out)?;
                }
                '@' | '$' if filter => {
                    let path = format!("{c}{}", self.segments(true)?);
                    // kubectl compares what is there: where a path leads nowhere, nothing is unlike it either.
                    let after = self.text[self.at()..].trim_start().starts_with("!=");
                    let compared = after || out.trim_end().ends_with("!=");
                    out.push_str(&path);
                    if compared {
                        out.push_str(&format!(" && {path}"));
                    }
                }
                c => {
                    depth += usize::from(c == '[');
                    out.push(c);
                    if c == ']' {
                        depth -= 1;
                        if depth == 0 {
                            return Ok(out);
                        }
                    }
                }
            }
        }
        Err(self.wrong("a ] is missing"))
    }

    fn quoted(&mut self, quote: char, out: &mut String) -> Result<(), String> {
        while let Some((_, c)) = self.chars.next() {
            out.push(c);
            if c == '\\' {
                out.extend(self.chars.next().map(|(_, c)| c));
            } else if c == quote {
                return Ok(());
            }
        }
        Err(self.wrong("a quote is not closed"))
    }

    fn at(&mut self) -> usize {
        self.chars.peek().map_or(self.text.len(), |(at, _)| *at)
    }
}

/// A value as kubectl prints it: texts as they are, objects and lists as JSON.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kubectls_paths_find_what_kubectl_finds() {
        let list = json!({"items": [
            {"metadata": {"name": "a", "labels": {"testkit.dev/rerun-of": "x", "two words": "w"}}, "n": 3,
             "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Stalled", "status": "False"}]}},
            {"metadata": {"name": "b"}, "n": 10, "status": {"conditions": []}},
        ]});
        for (path, found) in [
            (".items[*].metadata.name", "a b"),
            ("{.items[*].metadata.name}", "a b"),
            ("items[0].metadata.name", "a"),
            ("$.items[-1:].metadata.name", "b"),
            (".items[-1].metadata.name", "b"),
            (".items[0,1].n", "3 10"),
            (".items[0:1].n", "3"),
            ("@.items[0]['n']", "3"),
            (r".items[*].metadata.labels.testkit\.dev/rerun-of", "x"),
            (".items[0].metadata.labels['two words']", "w"),
            (r#".items[*].status.conditions[?(@.type=="Ready")].status"#, "True"),
            (r#".items[*].status.conditions[?(@.type == 'Ready')].status"#, "True"),
            (".items[?(@.n>5)].metadata.name", "b"),
            (r#".items[?(@.metadata.name=="a")].n"#, "3"),
            // Of those that have it: b has no labels at all.
            (r#".items[?(@.metadata.name!="a")].n"#, "10"),
            (r#".items[?(@.metadata.labels.two != "x")].metadata.name"#, ""),
            (r#".items[?(@.metadata.labels['two words'] != 'x')].metadata.name"#, "a"),
            (r#".items[?("a" != @.metadata.name)].metadata.name"#, "b"),
            (".items[?(@.n != 3)].metadata.name", "b"),
            (r#".items[?(@.n == 3 || @.metadata.name != "c")].metadata.name"#, "a b"),
            (".items[?(@.metadata.labels)].metadata.name", "a"),
            ("..name", "a b"),
            (".items.*.n", "3 10"),
            (".items[7].n", ""),
            (".nothing.here", ""),
            (".items[1].status", r#"{"conditions":[]}"#),
        ] {
            let path_read = Path::relaxed(path).unwrap();
            let values: Vec<String> = path_read.find(&list, &list).into_iter().map(shown).collect();
            assert_eq!(values.join(" "), found, "{path}");
        }
        let whole = Path::parse(".").unwrap();
        assert_eq!(whole.find(&list, &list["items"][1]["n"]), [&json!(10)]);
        assert_eq!(Path::parse("$.items[0].n").unwrap().find(&list, &json!({})), [&json!(3)]);
    }

    #[test]
    fn what_is_no_path_is_said_so() {
        for wrong in ["", "{}", ".items[", ".items[0", ".a..", ".a['b", ".items[x]", ".a b"] {
            assert!(Path::relaxed(wrong).is_err(), "{wrong}");
        }
    }
}
