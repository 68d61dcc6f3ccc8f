//! Notes the compiler and the commit for `environment.json`. Works without git, then without a commit.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    if let Some(version) = output(&rustc, &["--version"]) {
        println!("cargo:rustc-env=DINOXIDE_RUSTC={version}");
    }
    if let Some(head_log) = output("git", &["rev-parse", "--git-path", "logs/HEAD"])
        && std::path::Path::new(&head_log).exists()
    {
        println!("cargo:rerun-if-changed={head_log}");
    }
    if let Some(commit) = output("git", &["rev-parse", "--short=12", "HEAD"]) {
        println!("cargo:rustc-env=DINOXIDE_COMMIT={commit}");
    }
}

/// First line of what a program prints, if it runs and succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
}
