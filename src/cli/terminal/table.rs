//! Tables as `kubectl get` prints them.

use super::{Printer, Style};

/// Rows under headings; columns are as wide as they must be.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
    headless: bool,
}

/// One cell: a text and what it means.
#[derive(Clone, Debug)]
pub struct Cell(Style, String);

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self(Style::Plain, text.to_string())
    }
}

impl Cell {
    /// A text with a meaning.
    pub fn styled(style: Style, text: impl Into<String>) -> Self {
        Self(style, text.into())
    }

    /// The text, or `-` where there is none.
    pub fn optional(text: Option<impl ToString>) -> Self {
        text.map_or_else(|| Self(Style::Dim, "-".to_owned()), Self::from)
    }
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|h| Cell::styled(Style::Strong, *h)).collect()], headless: false }
    }

    /// The same without its headings; columns are as wide as with them.
    #[must_use]
    pub fn headless(self, headless: bool) -> Self {
        Self { headless, ..self }
    }

    /// One more row.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The table as text, a line a row.
    #[must_use]
    pub fn render(&self, printer: &Printer) -> String {
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.1.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.rows.first().map_or(0, Vec::len)).map(width).collect();
        let mut text = String::new();
        for row in self.rows.iter().skip(usize::from(self.headless)) {
            for (column, Cell(style, cell)) in row.iter().enumerate() {
                text.push_str(&printer.paint(*style, cell));
                if column + 1 < row.len() {
                    let width = widths.get(column).copied().unwrap_or(0);
                    text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 3));
                }
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_have_no_trailing_blanks() {
        let mut table = Table::new(&["NAME", "READY", "MESSAGE"]);
        table.row(vec!["foo".into(), "True".into(), "".into()]);
        table.row(vec!["a-longer-name".into(), Cell::optional(None::<&str>), "waits".into()]);
        let text = table.render(&Printer::plain());
        assert_eq!(text, "NAME            READY   MESSAGE\nfoo             True\na-longer-name   -       waits\n");
        let rows = table.headless(true).render(&Printer::plain());
        assert_eq!(rows, "foo             True\na-longer-name   -       waits\n");
    }
}
