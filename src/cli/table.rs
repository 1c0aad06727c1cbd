//! Tables as `kubectl get` prints them, and ages and sizes as people read them.

use std::{fmt::Display, time::Duration};

use super::printer::{Printer, Style};

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

/// So many of something: `1 node`, `2 nodes`.
#[must_use]
pub fn counted<N: Copy + Display + PartialEq + From<u8>>(count: N, what: &str) -> String {
    let plural = if count == N::from(1) { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// How long something took: `0.4s`, `12.0s`, `3m12s`.
#[must_use]
pub fn seconds(duration: Duration) -> String {
    let s = duration.as_secs_f64();
    if s < 60.0 { format!("{s:.1}s") } else { age(duration) }
}

/// How old something is, with at most two units, as kubectl says it.
#[must_use]
pub fn age(duration: Duration) -> String {
    let s = duration.as_secs();
    let (d, h, m) = (s / 86400, s / 3600, s / 60);
    let two = |big: u64, unit: char, small: u64, small_unit: char| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit}{small}{small_unit}"),
    };
    match () {
        () if s < 120 => format!("{s}s"),
        () if m < 10 => two(m, 'm', s % 60, 's'),
        () if h < 3 => format!("{m}m"),
        () if h < 8 => two(h, 'h', m % 60, 'm'),
        () if d < 2 => format!("{h}h"),
        () if d < 8 => two(d, 'd', h % 24, 'h'),
        () => format!("{d}d"),
    }
}

/// A size: `512 B`, `1.5 MiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss)] // for people
    let mut value = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_kubectl_prints_them() {
        for (seconds, text) in [
            (5, "5s"),
            (119, "119s"),
            (125, "2m5s"),
            (900, "15m"),
            (7200, "120m"),
            (14400, "4h"),
            (16200, "4h30m"),
            (100_000, "27h"),
            (200_000, "2d7h"),
            (864_000, "10d"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(
            [counted(0_u64, "file"), counted(1_u64, "file"), counted(2_u64, "file")],
            ["0 files", "1 file", "2 files"]
        );
    }

    #[test]
    fn sizes_have_one_decimal() {
        assert_eq!([size(12), size(2048), size(1_572_864)], ["12 B", "2.0 KiB", "1.5 MiB"]);
    }

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
