//! What a node uses, by what its kernel says.

/// Says the processors' time twice, a second apart, then memory and the disk of the engine's data.
pub const MEASURE: &str = "export LC_ALL=C; head -n 1 /proc/stat; sleep 1; head -n 1 /proc/stat; \
    grep -c '^processor' /proc/cpuinfo; grep -E '^(MemTotal|MemAvailable):' /proc/meminfo; \
    df -Pk /var/lib/docker 2>/dev/null || df -Pk /";

/// What a node uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Processors in use, in the last second.
    pub cpu: f64,
    /// Processors there are.
    pub cpus: u32,
    /// Bytes.
    pub memory_used: u64,
    /// Bytes.
    pub memory: u64,
    /// Bytes.
    pub disk_used: u64,
    /// Bytes.
    pub disk: u64,
}

impl Load {
    /// Reads what [`MEASURE`] says; `None` where it says something else.
    pub fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (before, after) = (Time::read(lines.next()?)?, Time::read(lines.next()?)?);
        let cpus: u32 = lines.next()?.trim().parse().ok()?;
        let kib = |line: &str, name: &str| {
            let number = line.strip_prefix(name)?.trim().split(' ').next()?;
            bytes(number)
        };
        let (memory, available) = (kib(lines.next()?, "MemTotal:")?, kib(lines.next()?, "MemAvailable:")?);
        let disk: Vec<&str> = lines.nth(1)?.split_whitespace().collect();
        let disk = |at: usize| bytes(disk.get(at)?);
        Some(Self {
            cpu: after.share_since(&before) * f64::from(cpus),
            cpus,
            memory_used: memory.saturating_sub(available),
            memory,
            disk_used: disk(2)?,
            disk: disk(1)?,
        })
    }
}

/// A number of KiB, as the kernel writes it.
fn bytes(kib: &str) -> Option<u64> {
    kib.parse::<u64>().ok()?.checked_mul(1024)
}

/// The processors' time since the start, in ticks: proc_stat(5).
struct Time {
    all: u64,
    idle: u64,
}

impl Time {
    fn read(line: &str) -> Option<Self> {
        let ticks: Vec<u64> = line.strip_prefix("cpu ")?.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        // What guests use is counted in the first two already.
        let all = ticks.iter().take(8).try_fold(0, |all: u64, ticks| all.checked_add(*ticks))?;
        Some(Self { all, idle: ticks.get(3)?.checked_add(*ticks.get(4)?)? })
    }

    /// Which part of the time since then was not idle.
    #[allow(clippy::cast_precision_loss)] // for people
    fn share_since(&self, before: &Self) -> f64 {
        let all = self.all.saturating_sub(before.all);
        let idle = self.idle.saturating_sub(before.idle).min(all);
        if all == 0 { 0.0 } else { (all - idle) as f64 / all as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kernel_says_is_read() {
        let said = "cpu  100 0 100 700 100 0 0 0 50 0\ncpu  150 0 200 750 200 0 0 0 90 0\n4\nMemTotal:  2048 kB\nMemAvailable:   512 kB\n\
            Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/root 1000 250 750 25% /\n";
        let load = Load::read(said).unwrap();
        assert_eq!((load.cpu, load.cpus), (2.0, 4));
        assert_eq!((load.memory_used, load.memory), (1536 << 10, 2048 << 10));
        assert_eq!((load.disk_used, load.disk), (250 << 10, 1000 << 10));
        for wrong in ["", "cpu  1 2\n", &said[..said.len() - 40], "sh: head: not found\n"] {
            assert_eq!(Load::read(wrong), None, "{wrong:?}");
        }
        // A kernel that counts further than there are numbers.
        let most = u64::MAX.to_string();
        for number in ["700", "750 200", "2048", "512 ", "1000 ", "250 750"] {
            let said = said.replace(number, &format!("{most} {most} "));
            assert_eq!(Load::read(&said), None, "{number}");
        }
    }

    #[test]
    fn this_machine_can_be_measured() {
        let output = std::process::Command::new("sh").args(["-c", MEASURE]).output().unwrap();
        let load = Load::read(&String::from_utf8(output.stdout).unwrap()).unwrap();
        assert!(load.cpus > 0 && load.memory_used < load.memory && load.disk > 0, "{load:?}");
    }
}
