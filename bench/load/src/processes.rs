//! CPU time and memory of the server, its database and this program, from Linux's `/proc`.

use std::{collections::HashMap, fs};

use crate::figures::Report;

/// `/proc` counts CPU time in hundredths of a second on every architecture of today.
const TICKS_PER_SECOND: f64 = 100.0;

/// The processes to watch, each with its descendants.
#[derive(Clone, Copy)]
pub(crate) struct Processes {
    pub(crate) server: Option<u32>,
    pub(crate) database: Option<u32>,
}

/// The CPU time used up to a moment, in seconds.
struct CpuTime {
    server: Option<f64>,
    database: Option<f64>,
    load: f64,
}

/// A part of a scenario that is measured.
pub(crate) struct Phase {
    processes: Processes,
    before: CpuTime,
}

impl Processes {
    /// Has the kernel reset the server's peak memory.
    pub(crate) fn forget_peak(self) {
        if let Some(pid) = self.server {
            // This may not be permitted; the peak is then that of the server's whole life.
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
    }

    /// The most memory that the server's first process has used since, in MiB.
    pub(crate) fn peak_mib(self) -> Option<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim_end().parse().ok()?;
        Some(kib / 1024.0)
    }

    pub(crate) fn start_phase(self) -> Phase {
        Phase { processes: self, before: self.cpu_time() }
    }

    fn cpu_time(self) -> CpuTime {
        let all = processes();
        let of = |root: u32| tree(root, &all).iter().map(|pid| all[pid].cpu_s).sum();
        CpuTime {
            server: self.server.map(of),
            database: self.database.map(of),
            load: of(std::process::id()),
        }
    }
}

impl Phase {
    /// Adds the CPU time of the phase and the memory in use at its end to the report.
    ///
    /// A server's memory is what is resident. Of a database it is the proportional share, since
    /// its processes have most of theirs in common.
    pub(crate) fn end(self, report: &mut Report) {
        let after = self.processes.cpu_time();
        report.put("load_cpu_s", after.load - self.before.load);
        if let (Some(before), Some(after)) = (self.before.server, after.server) {
            report.put("server_cpu_s", after - before);
        }
        if let (Some(before), Some(after)) = (self.before.database, after.database) {
            report.put("database_cpu_s", after - before);
        }
        if let Some(memory) = self.processes.server.and_then(|pid| memory_mib(pid, "Rss:")) {
            report.put("server_mib", memory);
        }
        if let Some(memory) = self.processes.database.and_then(|pid| memory_mib(pid, "Pss:")) {
            report.put("database_mib", memory);
        }
    }
}

/// The contents of `/proc/PID/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    parent: u32,
    /// In user and system mode, including children that have ended.
    cpu_s: f64,
}

fn parse_stat(line: &str) -> Option<Stat> {
    // The name of the program may hold spaces and parentheses itself.
    let (_, rest) = line.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let ticks: Option<u32> = (11..=14).map(|i| fields.get(i)?.parse::<u32>().ok()).sum();
    Some(Stat { parent: fields.get(1)?.parse().ok()?, cpu_s: f64::from(ticks?) / TICKS_PER_SECOND })
}

/// All running processes.
fn processes() -> HashMap<u32, Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let stat = |pid: u32| {
        let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, parse_stat(&line)?))
    };
    pids.filter_map(stat).collect()
}

/// The process, if it is running, and its descendants.
fn tree(root: u32, all: &HashMap<u32, Stat>) -> Vec<u32> {
    let mut found: Vec<u32> = all.contains_key(&root).then_some(root).into_iter().collect();
    let mut visited = 0;
    while let Some(&parent) = found.get(visited) {
        found.extend(all.iter().filter(|(_, stat)| stat.parent == parent).map(|(pid, _)| pid));
        visited += 1;
    }
    found
}

/// A sum over the processes of a tree, in MiB; `None` if one of them cannot be read.
fn memory_mib(root: u32, field: &str) -> Option<f64> {
    let mut kib = 0.0;
    for pid in tree(root, &processes()) {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(field))?;
        kib += line.trim().trim_end_matches("kB").trim_end().parse::<f64>().ok()?;
    }
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_names_with_spaces_and_parentheses_are_read() {
        let line = "42 (a b) (c)) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 9 0 123 999 55 1";
        assert_eq!(parse_stat(line), Some(Stat { parent: 7, cpu_s: 1.27 }));
        assert_eq!(parse_stat("garbage"), None);
    }

    #[test]
    fn a_tree_is_a_process_and_its_descendants() {
        let stat = |parent| Stat { parent, cpu_s: 0.0 };
        let all = HashMap::from([(1, stat(0)), (2, stat(1)), (3, stat(2)), (4, stat(1))]);
        assert_eq!(tree(2, &all), [2, 3]);
        assert!(tree(77, &all).is_empty());
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(memory_mib(std::process::id(), "Rss:").is_some_and(|mib| mib > 1.0));
    }
}
