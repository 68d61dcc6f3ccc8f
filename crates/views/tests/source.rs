//! Finding images: folders, lists, globs, classes, and what is said when there are none.
#![expect(clippy::unwrap_used, reason = "a file that cannot be written fails the test")]

use std::fs;
use std::path::Path;

use dinoxide_views::Source;

fn touch(root: &Path, names: &[&str]) {
    for name in names {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }
}

fn names(source: &Source) -> Vec<&str> {
    source.images.iter().map(|image| image.name.as_str()).collect()
}

fn open(path: &Path) -> Result<Source, String> {
    Source::open(&[path.display().to_string()]).map_err(|error| error.to_string())
}

#[test]
fn folders_are_searched_in_sorted_order_without_hidden_and_other_files() {
    let root = tempfile::tempdir().unwrap();
    touch(root.path(), &["b/2.PNG", "b/1.jpg", "a/deep/x.webp", "z.tif", ".hidden/1.jpg", ".dot.jpg", "notes.md"]);
    assert_eq!(names(&open(root.path()).unwrap()), ["z.tif", "a/deep/x.webp", "b/1.jpg", "b/2.PNG"]);
}

#[test]
fn a_file_given_twice_is_taken_once_and_folders_keep_their_names_apart() {
    let root = tempfile::tempdir().unwrap();
    touch(root.path(), &["a/1.jpg", "b/1.jpg"]);
    let given = |name: &str| root.path().join(name).display().to_string();
    let source = Source::open(&[given("a"), given("b"), given("a/1.jpg")]).unwrap();
    assert_eq!(names(&source), ["a/1.jpg", "b/1.jpg"]);
}

#[test]
fn lists_keep_their_order_and_are_relative_to_themselves() {
    let root = tempfile::tempdir().unwrap();
    touch(root.path(), &["x/2.jpg", "x/1.jpg"]);
    let list = root.path().join("list.txt");
    fs::write(&list, "# mine\nx/2.jpg\n\nx/1.jpg\n").unwrap();
    assert_eq!(names(&open(&list).unwrap()), ["x/2.jpg", "x/1.jpg"]);
    fs::write(&list, "x/3.jpg\n").unwrap();
    assert!(open(&list).unwrap_err().contains("listed in"));
}

#[test]
fn globs_give_names_relative_to_their_fixed_part() {
    let root = tempfile::tempdir().unwrap();
    touch(root.path(), &["x/1.jpg", "x/2.png", "y/3.jpg"]);
    assert_eq!(names(&open(&root.path().join("*/*.jpg")).unwrap()), ["x/1.jpg", "y/3.jpg"]);
}

#[test]
fn classes_are_sorted_folders_and_may_be_nested() {
    let root = tempfile::tempdir().unwrap();
    touch(root.path(), &["dog/1.jpg", "cat/deep/2.jpg", "cat/1.jpg", "stray.jpg"]);
    let source = Source::labelled(root.path()).unwrap();
    assert_eq!(source.classes, ["cat", "dog"]);
    assert_eq!(names(&source), ["cat/1.jpg", "cat/deep/2.jpg", "dog/1.jpg"]);
    assert_eq!(source.images.iter().map(|image| image.label.unwrap()).collect::<Vec<_>>(), [0, 0, 1]);
}

#[test]
fn errors_say_what_was_looked_for() {
    let root = tempfile::tempdir().unwrap();
    touch(root.path(), &["readme.md"]);
    assert!(open(&root.path().join("nowhere")).unwrap_err().contains("no such file or folder"));
    assert!(open(root.path()).unwrap_err().contains("jpg, jpeg, png"));
    assert!(Source::labelled(root.path()).unwrap_err().to_string().contains("one sub-folder per class"));
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_circles() {
    let root = tempfile::tempdir().unwrap();
    touch(root.path(), &["real/1.jpg"]);
    std::os::unix::fs::symlink(root.path(), root.path().join("real/loop")).unwrap();
    std::os::unix::fs::symlink(root.path().join("real/1.jpg"), root.path().join("link.jpg")).unwrap();
    assert_eq!(names(&open(root.path()).unwrap()), ["link.jpg", "real/1.jpg"]);
}
