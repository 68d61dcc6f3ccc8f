//! Disks that are full or read-only: a clear error, the last checkpoint intact, and nothing lost once there is room.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod running;

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use running::{Outcome, Running, make_images, pretrain, run};

/// A user who owns nothing.
const NOBODY: u32 = 65_534;

fn data(folder: &Path) -> PathBuf {
    let data = folder.join("data");
    make_images(&data, 8);
    data
}

/// The run that nobody disturbs.
fn undisturbed(folder: &Path, data: &Path) -> Outcome {
    let out = folder.join("undisturbed");
    run(pretrain(data, &out, &[])).expect(0);
    Outcome::of(&out)
}

fn stop_early(data: &Path, out: &Path) {
    let mut running = Running::start(pretrain(data, out, &[]));
    running.wait_for_step(out, 3);
    running.signal("INT");
    running.end().expect(130);
}

#[test]
fn limit_on_file_sizes_is_an_error_and_harms_no_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let (out, expected) = (folder.path().join("run"), undisturbed(folder.path(), &data));
    stop_early(&data, &out);
    let before = Outcome::of(&out);
    // 32 or 64 KiB, as the shell counts: less than the weights need.
    let command = pretrain(&data, &out, &[]);
    let mut limited = Command::new("sh");
    limited.arg("-c").arg("ulimit -f 64; exec \"$@\"").arg("sh").arg(command.get_program()).args(command.get_args());
    run(limited).expect(1).saying(&["checkpoints", "safetensors", "error: "]);
    let after = Outcome::of(&out);
    after.assert_same_checkpoint(&before, "a failed save");
    run(pretrain(&data, &out, &[])).expect(0);
    expected.assert_same(&Outcome::of(&out), "after a failed save");
}

#[test]
fn full_disk_is_an_error_and_harms_no_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(&disk).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        println!("skipped: no right to mount a small disk");
        return;
    }
    let _unmount = Unmount(&disk);
    // Long enough to be under way when the disk fills up.
    let long = ["--set", "run.epochs=30"];
    let (out, expected) = (disk.join("run"), folder.path().join("expected"));
    run(pretrain(&data, &expected, &long)).expect(0);
    let mut running = Running::start(pretrain(&data, &out, &long));
    running.wait_for_step(&out, 10);
    fill(&disk.join("ballast"));
    running.end().expect(1).saying(&["error: ", "No space left on device"]);
    // At the start as well; and neither attempt harms what was saved.
    let before = Checkpoint::newest(&out);
    run(pretrain(&data, &out, &long)).expect(1).saying(&["error: ", "No space left on device"]);
    assert!(Checkpoint::newest(&out) == before, "the checkpoint is as it was");
    std::fs::remove_file(disk.join("ballast")).unwrap();
    run(pretrain(&data, &out, &long)).expect(0).saying(&["continuing after step"]);
    Outcome::of(&expected).assert_same(&Outcome::of(&out), "after a full disk");
}

/// Takes all the space that is left.
fn fill(ballast: &Path) {
    let mut ballast = std::fs::File::create(ballast).unwrap();
    for size in [65_536, 4096, 1] {
        while ballast.write(&vec![0; size]).is_ok_and(|written| written > 0) {}
    }
}

/// The files of the newest checkpoint.
#[derive(PartialEq)]
struct Checkpoint(Vec<Vec<u8>>);

impl Checkpoint {
    fn newest(out: &Path) -> Self {
        let parts = ["student.safetensors", "teacher.safetensors", "optim.safetensors", "state.json", "manifest.json"];
        Self(parts.map(|name| std::fs::read(out.join("checkpoints/last").join(name)).unwrap()).into())
    }
}

/// Unmounts a folder, however the test ends.
struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        Command::new("umount").arg(self.0).status().ok();
    }
}

#[test]
fn folder_without_the_right_to_write_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let locked = folder.path().join("locked");
    std::fs::create_dir(&locked).unwrap();
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    mode(folder.path(), 0o755);
    mode(&locked, 0o555);
    let mut command = pretrain(&data, &locked.join("run"), &[]);
    // Root may write everywhere, so the test steps down.
    if std::fs::write(locked.join("probe"), "").is_ok() {
        std::fs::remove_file(locked.join("probe")).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    match command.output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(text.contains("cannot create") && text.contains("locked/run"), "{text}");
            assert!(text.contains("Permission denied") && !text.contains("panicked"), "{text}");
        }
        Err(error) => println!("skipped: cannot run as another user: {error}"),
    }
    mode(&locked, 0o755);
}
