//! What a process and its descendants cost: memory and processor time, from `/proc`.
//!
//! Memory is the proportional set size: pages shared by several processes, as Postgres's buffers
//! are, count once in the sum. Processor time of a tree includes children that have already ended
//! and were waited for.

use rustix::param::clock_ticks_per_second;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

/// What `/proc/<pid>/stat` says. Source: proc_pid_stat(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Field 3: `R` running, `T` stopped, `Z` zombie, `X` dead …
    pub(crate) state: u8,
    /// Field 4.
    pub(crate) parent: u32,
    /// Fields 14 and 15, in clock ticks.
    own_ticks: u64,
    /// Fields 16 and 17, in clock ticks: children that were waited for.
    children_ticks: u64,
    /// Field 22, in clock ticks since the machine started.
    pub(crate) started_ticks: u64,
}

impl Stat {
    /// Of one process; an error when there is none of that number.
    pub(crate) fn of(pid: u32) -> io::Result<Stat> {
        let line = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Stat::parse(&line)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a line of /proc/<pid>/stat"))
    }

    /// The name in field 2 may hold blanks and brackets, so fields count from the last bracket.
    fn parse(line: &str) -> Option<Stat> {
        let fields: Vec<&str> = line.get(line.rfind(')')? + 1..)?.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Stat {
            state: *fields.first()?.as_bytes().first()?,
            parent: u32::try_from(number(4)?).ok()?,
            own_ticks: number(14)?.saturating_add(number(15)?),
            children_ticks: fields.get(13)?.parse::<i64>().ok()?.unsigned_abs()
                + fields.get(14)?.parse::<i64>().ok()?.unsigned_abs(),
            started_ticks: number(22)?,
        })
    }

    /// A zombie has ended; only its number is still there.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// Whether every thread of a process has stopped for a signal, or has ended. The first thread's
/// state alone, which `/proc/<pid>/stat` has, says nothing of the others.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .filter_map(|thread| Stat::parse(&fs::read_to_string(thread.path().join("stat")).ok()?))
        .all(|thread| matches!(thread.state, b'T' | b't') || thread.has_ended())
}

/// A process and all that descend from it, itself first. Empty when it does not exist.
///
/// A snapshot: what is started while `/proc` is read may be missing.
pub fn tree(pid: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // A process that has ended since the directory was read is not in the tree.
        if let Ok(stat) = Stat::of(number) {
            children.entry(stat.parent).or_default().push(number);
        }
    }
    if Stat::of(pid).is_err() {
        return vec![];
    }
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(children.get(&parent).into_iter().flatten());
        next += 1;
    }
    found
}

/// The proportional set size of a process and all its descendants, in bytes.
///
/// # Errors
///
/// When the process itself cannot be read. A descendant that ends meanwhile counts nothing.
pub fn pss_bytes(pid: u32) -> io::Result<u64> {
    let own = pss_bytes_of_one(pid)?;
    Ok(own + tree(pid).into_iter().skip(1).filter_map(|child| pss_bytes_of_one(child).ok()).sum::<u64>())
}

/// The proportional set size of one process without its descendants, in bytes.
///
/// # Errors
///
/// When there is no such process, or it belongs to somebody else.
pub fn pss_bytes_of_one(pid: u32) -> io::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kilobytes = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse::<u64>().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "smaps_rollup without a line `Pss:`"))?;
    Ok(kilobytes * 1024)
}

/// The processor time (user and system) of a process and all its descendants so far, those that
/// have ended and were waited for included.
///
/// # Errors
///
/// When the process itself cannot be read.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let own = Stat::of(pid)?;
    let below = tree(pid).into_iter().skip(1).filter_map(|child| Stat::of(child).ok());
    let ticks = below.map(|stat| stat.own_ticks + stat.children_ticks).sum::<u64>();
    Ok(duration(own.own_ticks + own.children_ticks + ticks))
}

/// The processor time (user and system) of one process so far, without any other.
///
/// # Errors
///
/// When there is no such process.
pub fn cpu_time_of_one(pid: u32) -> io::Result<Duration> {
    Ok(duration(Stat::of(pid)?.own_ticks))
}

fn duration(ticks: u64) -> Duration {
    Duration::from_millis(ticks.saturating_mul(1_000) / clock_ticks_per_second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_name_with_blanks_and_brackets_does_not_shift_the_fields() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 11 22 33 44 20 0 1 0 987654 1 2";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state, stat.parent, stat.started_ticks), (b'S', 7, 987_654));
        assert_eq!((stat.own_ticks, stat.children_ticks), (33, 77));
        assert!(Stat::parse("42 (cut").is_none());
        assert!(Stat::parse("42 (cut) S 7").is_none());
    }

    #[test]
    fn a_tree_holds_the_children_and_costs_at_least_what_its_root_costs() {
        let mut child = Command::new("sleep").arg("30").stdin(Stdio::null()).spawn().unwrap();
        let me = std::process::id();
        assert_eq!(tree(me).first(), Some(&me));
        assert!(tree(me).contains(&child.id()));
        assert!(pss_bytes(me).unwrap() >= pss_bytes_of_one(me).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!tree(me).contains(&child.id()));
    }

    #[test]
    fn work_shows_as_processor_time_of_this_process_alone() {
        let me = std::process::id();
        let before = cpu_time_of_one(me).unwrap();
        let begun = std::time::Instant::now();
        let mut sum = 0_u64;
        while cpu_time_of_one(me).unwrap() < before + Duration::from_millis(50) {
            sum = std::hint::black_box(sum.wrapping_add(1));
            assert!(begun.elapsed() < Duration::from_secs(20), "20 s of work did not show");
        }
        assert!(cpu_time(me).unwrap() >= before + Duration::from_millis(50));
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(pss_bytes(u32::MAX).is_err());
        assert!(cpu_time(u32::MAX).is_err());
        assert!(tree(u32::MAX).is_empty());
    }
}
