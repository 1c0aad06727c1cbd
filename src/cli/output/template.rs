//! A text with paths in braces, as `kubectl get -o jsonpath=` takes it.

use serde_json::Value;

use super::path::{Path, shown};

/// A template that was read.
#[derive(Clone, Debug)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Path(Path),
    /// What comes of it, once for each that the path finds.
    Range(Path, Vec<Self>),
}

/// What stands in braces, or between them.
enum Piece<'a> {
    Text(&'a str),
    Braces(&'a str),
}

impl Template {
    /// Reads one; a path without braces is one path.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.contains('{') && text.starts_with(['.', '$', '@', '[']) {
            return Ok(Self(vec![Part::Path(Path::parse(text)?)]));
        }
        let pieces = pieces(text)?;
        let mut pieces = pieces.into_iter();
        let parts = parts(&mut pieces, false)?;
        Ok(Self(parts))
    }

    /// The text it makes of an object.
    pub fn render(&self, object: &Value) -> String {
        let mut out = String::new();
        render(&self.0, object, object, &mut out);
        out
    }
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((before, inside)) = rest.split_once('{') {
        if !before.is_empty() {
            found.push(Piece::Text(before));
        }
        let end = closing(inside).ok_or_else(|| format!("a }} is missing in {text:?}"))?;
        found.push(Piece::Braces(&inside[..end]));
        rest = &inside[end + 1..];
    }
    if !rest.is_empty() {
        found.push(Piece::Text(rest));
    }
    Ok(found)
}

/// Where the brace closes: not within quotes.
fn closing(text: &str) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in text.char_indices() {
        match (c, quote) {
            _ if escaped => escaped = false,
            ('\\', _) => escaped = true,
            (c, Some(q)) if c == q => quote = None,
            ('\'' | '"', None) => quote = Some(c),
            ('}', None) => return Some(at),
            _ => {}
        }
    }
    None
}

fn parts<'a>(pieces: &mut impl Iterator<Item = Piece<'a>>, in_range: bool) -> Result<Vec<Part>, String> {
    let mut found = Vec::new();
    while let Some(piece) = pieces.next() {
        let inside = match piece {
            Piece::Text(text) => {
                found.push(Part::Text(text.to_owned()));
                continue;
            }
            Piece::Braces(inside) => inside.trim(),
        };
        match inside {
            "end" if in_range => return Ok(found),
            "range" => return Err("{range …} wants a path, such as {range .items[*]}".to_owned()),
            "end" => return Err("there is an {end} without a {range …} before it".to_owned()),
            quoted if quoted.starts_with(['"', '\'']) => found.push(Part::Text(literal(quoted)?)),
            path => match path.strip_prefix("range").filter(|rest| rest.starts_with(char::is_whitespace)) {
                Some(over) => {
                    let over = Path::parse(over)?;
                    found.push(Part::Range(over, parts(pieces, true)?));
                }
                None => found.push(Part::Path(Path::parse(path)?)),
            },
        }
    }
    if in_range { Err("a {range …} has no {end}".to_owned()) } else { Ok(found) }
}

/// A quoted text without its quotes, with `\n`, `\t` and the like as what they stand for.
fn literal(quoted: &str) -> Result<String, String> {
    let wrong = || format!("{quoted} is no quoted text");
    let quote = quoted.chars().next().ok_or_else(wrong)?;
    let inside = quoted.strip_prefix(quote).and_then(|t| t.strip_suffix(quote)).ok_or_else(wrong)?;
    let mut text = String::new();
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        text.push(match (c, c == '\\') {
            (_, true) => match chars.next().ok_or_else(wrong)? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            },
            (c, false) => c,
        });
    }
    Ok(text)
}

fn render(parts: &[Part], root: &Value, here: &Value, out: &mut String) {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Path(path) => {
                let found: Vec<String> = path.find(root, here).into_iter().map(shown).collect();
                out.push_str(&found.join(" "));
            }
            Part::Range(over, inner) => {
                for one in over.find(root, here) {
                    render(inner, root, one, out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_make_what_kubectl_makes() {
        let list = json!({"kind": "List", "items": [
            {"metadata": {"name": "a"}, "nodes": [{"n": 1}, {"n": 2}]},
            {"metadata": {"name": "b"}, "nodes": []},
        ]});
        for (template, text) in [
            ("{.items[*].metadata.name}", "a b"),
            (".items[*].metadata.name", "a b"),
            (r#"{range .items[*]}{.metadata.name}{"\n"}{end}"#, "a\nb\n"),
            (r"{range .items[*]}{.metadata.name}{'\t'}{range .nodes[*]}[{.n}]{end};{end}", "a\t[1][2];b\t;"),
            ("{range .items[*]}{$.kind}/{@.metadata.name} {end}", "List/a List/b "),
            ("names: {.items[*].metadata.name}, that is all", "names: a b, that is all"),
            ("no path", "no path"),
            (r#"{.items[?(@.metadata.name=="}")].x}"#, ""),
            ("{.items[0].nodes}", r#"[{"n":1},{"n":2}]"#),
        ] {
            assert_eq!(Template::parse(template).unwrap().render(&list), text, "{template}");
        }
    }

    #[test]
    fn what_is_no_template_is_said_so() {
        for (wrong, words) in [
            ("{.items", "a } is missing"),
            ("{range .items[*]}{.x}", "has no {end}"),
            ("{end}", "without a {range"),
            ("{\"a}", "a } is missing"),
            ("{range}", "wants a path"),
        ] {
            let why = Template::parse(wrong).map(|_| ()).unwrap_err();
            assert!(why.contains(words), "{wrong}: {why}");
        }
    }
}
