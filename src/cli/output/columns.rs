//! Columns that somebody chose, as `kubectl get -o custom-columns=` takes them.

use serde_json::Value;

use super::path::{Path, shown};
use crate::cli::terminal::Table;

/// Headings, and what is under each.
#[derive(Clone, Debug)]
pub struct Columns(Vec<(String, Path)>);

impl Columns {
    /// Reads `HEADING:PATH,…`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut columns = Vec::new();
        for column in split(text) {
            let Some((heading, path)) = column.split_once(':').filter(|(heading, _)| !heading.is_empty()) else {
                return Err(format!("{column:?} is no column: write it like NAME:.metadata.name"));
            };
            columns.push((heading.to_owned(), Path::relaxed(path)?));
        }
        Ok(Self(columns))
    }

    /// A row for each object.
    pub fn table<'a>(&self, objects: impl IntoIterator<Item = &'a Value>) -> Table {
        let headings: Vec<&str> = self.0.iter().map(|(heading, _)| heading.as_str()).collect();
        let mut table = Table::new(&headings);
        for object in objects {
            let cell = |(_, path): &(String, Path)| {
                let values: Vec<String> = path.find(object, object).into_iter().map(shown).collect();
                if values.is_empty() { "<none>".to_owned() } else { values.join(",") }
            };
            table.row(self.0.iter().map(|column| cell(column).into()).collect());
        }
        table
    }
}

/// At commas that are not within brackets or quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut found, mut begin, mut depth, mut quote) = (Vec::new(), 0, 0_i32, None);
    for (at, c) in text.char_indices() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            (_, Some(_)) => {}
            ('\'' | '"', None) => quote = Some(c),
            ('[' | '(' | '{', None) => depth += 1,
            (']' | ')' | '}', None) => depth -= 1,
            (',', None) if depth <= 0 => {
                found.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    found.push(&text[begin..]);
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::terminal::Printer;

    #[test]
    fn columns_have_what_their_paths_find() {
        let objects = [
            json!({"metadata": {"name": "a"}, "n": 1, "conditions": [{"type": "Ready", "status": "True"}]}),
            json!({"metadata": {"name": "bcd"}, "list": ["x", "y"]}),
        ];
        let columns =
            Columns::parse(r#"NAME:.metadata.name,N:{.n},READY:.conditions[?(@.type=="Ready")].status,ALL:.list[0,1]"#)
                .unwrap();
        assert_eq!(
            columns.table(&objects).render(&Printer::plain()),
            "NAME   N        READY    ALL\na      1        True     <none>\nbcd    <none>   <none>   x,y\n"
        );
        for wrong in ["NAME", ":.x", "A:.x,", "A:"] {
            assert!(Columns::parse(wrong).is_err(), "{wrong}");
        }
    }
}
