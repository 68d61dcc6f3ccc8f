//! What this machine offers: cores, memory, names. Missing facts are "unknown", never an error.

use std::path::Path;

/// Memory assumed where the system does not tell, bytes.
const ASSUMED_MEMORY: u64 = 4 << 30;

/// Cores this process may use: affinity and control groups respected, and SLURM's allotment.
pub fn cores() -> usize {
    let available = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let allotted = std::env::var("SLURM_CPUS_PER_TASK").ok().and_then(|text| text.parse::<usize>().ok());
    allotted.filter(|cores| *cores > 0).map_or(available, |cores| cores.min(available))
}

/// Memory this process may use, bytes: the machine's, or the control group's limit if that is smaller.
pub fn memory_bytes() -> u64 {
    let machine = proc_memory("MemTotal:").unwrap_or(ASSUMED_MEMORY);
    group_memory(["memory.max", "memory/memory.limit_in_bytes"]).map_or(machine, |limit| limit.min(machine))
}

/// Memory that nobody uses at present, bytes: what the system says is available, or what the control group has left if that is less.
pub fn free_bytes() -> u64 {
    let most = memory_bytes();
    let used = group_memory(["memory.current", "memory/memory.usage_in_bytes"]).unwrap_or(0);
    let files = group_files(["memory.stat", "memory/memory.stat"]).unwrap_or(0);
    proc_memory("MemAvailable:").unwrap_or(most).min(most.saturating_sub(used.saturating_sub(files)))
}

/// What a control group's use has of files that nobody needs and that give way.
fn group_files(files: [&str; 2]) -> Option<u64> {
    let text = files.iter().find_map(|file| read(Path::new("/sys/fs/cgroup").join(file)))?;
    text.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse().ok())
}

/// The first of these files of the control group that has a number: version 2, version 1.
fn group_memory(files: [&str; 2]) -> Option<u64> {
    files.iter().find_map(|file| read(Path::new("/sys/fs/cgroup").join(file))?.trim().parse().ok())
}

/// Memory this process uses, bytes; `None` where the system does not tell.
pub fn used_bytes() -> Option<u64> {
    kilobytes(&read("/proc/self/status")?, "VmRSS:")
}

/// The most memory this process ever used, bytes; `None` where the system does not tell.
pub fn peak_bytes() -> Option<u64> {
    kilobytes(&read("/proc/self/status")?, "VmHWM:")
}

/// Name of the processor.
pub fn cpu_model() -> String {
    let named = read("/proc/cpuinfo").and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    named.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// Name of this machine.
pub fn host() -> String {
    let file = read("/proc/sys/kernel/hostname").map(|text| text.trim().to_owned());
    let variable = || std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok();
    file.filter(|name| !name.is_empty()).or_else(variable).unwrap_or_else(|| "unknown".to_owned())
}

/// Name of the operating system.
pub fn system() -> String {
    let pretty = read("/etc/os-release").and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("PRETTY_NAME="))?;
        Some(line.split_once('=')?.1.trim_matches('"').to_owned())
    });
    pretty.unwrap_or_else(|| std::env::consts::OS.to_owned())
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn proc_memory(field: &str) -> Option<u64> {
    kilobytes(&read("/proc/meminfo")?, field)
}

/// The value of a `Field:   123 kB` line, bytes.
fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}
