//! Counts, ages and sizes as people read them.

use std::{fmt::Display, time::Duration};

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
}
