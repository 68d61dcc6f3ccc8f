//! Finding images: folders, lists, globs, classes, and what is said when there are none.
#![expect(clippy::unwrap_used, reason = "a file that cannot be written fails the test")]

use std::fs;
use std::io::Write as _;
use std::path::Path;

use dinoxide_views::{DecodeError, Reading, Source};

fn touch(root: &Path, names: &[&str]) {
    for name in names {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }
}

fn names(source: &Source) -> Vec<&str> {
    source.images.iter().map(|image| &*image.name).collect()
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
    // Tests run in the crate's folder.
    let odd = Source::open(&["./../../parity/fixtures/views/odd/plain.bm*p".to_string()]).unwrap();
    assert_eq!(names(&odd), ["plain.bmp"]);
    assert!(odd.images[0].decode(&Reading::default()).is_ok(), "{}", odd.images[0].path().display());
    fs::write(root.path().join("x/backup.zip"), b"no archive").unwrap();
    assert_eq!(names(&open(&root.path().join("x/*")).unwrap()), ["1.jpg", "2.png"], "archives only by their name");
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

fn picture(shade: u8) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(3, 2, image::Rgb([shade; 3])).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn write_tar(path: &Path, members: &[(&str, &[u8])]) {
    let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.finish().unwrap();
}

fn write_zip(path: &Path, members: &[(&str, &[u8])], method: zip::CompressionMethod) {
    let mut zip = zip::ZipWriter::new(fs::File::create(path).unwrap());
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in members {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

/// The gray of each image.
fn shades(source: &Source) -> Vec<u8> {
    source.images.iter().map(|image| image.decode(&Reading::default()).unwrap().pixels[0]).collect()
}

#[test]
fn members_of_archives_are_images_in_their_order() {
    let root = tempfile::tempdir().unwrap();
    let long = format!("{}c.png", "deep/".repeat(40));
    let pictures = [picture(2), picture(1), picture(3)];
    let members: Vec<(&str, &[u8])> = vec![
        ("b.png", &pictures[0]),
        ("b.cls", b"7"),
        ("./a.png", &pictures[1]),
        ("__MACOSX/._a.png", b"junk"),
        (&long, &pictures[2]),
    ];
    write_tar(&root.path().join("shard.tar"), &members);
    write_zip(&root.path().join("stored.zip"), &members[..2], zip::CompressionMethod::Stored);
    write_zip(&root.path().join("deflated.ZIP"), &members[2..], zip::CompressionMethod::Deflated);
    let tar = open(&root.path().join("shard.tar")).unwrap();
    assert_eq!((names(&tar), shades(&tar)), (vec!["b.png", "a.png", &long], vec![2, 1, 3]));
    assert_eq!(tar.images[0].path(), root.path().join("shard.tar/b.png"));
    // A folder of archives, and a glob of them.
    let all = open(root.path()).unwrap();
    assert_eq!(shades(&all), [1, 3, 2, 1, 3, 2]);
    assert_eq!(&*all.images[5].name, "stored.zip/b.png");
    assert_eq!(shades(&open(&root.path().join("*.tar")).unwrap()), [2, 1, 3]);
    // Beside images of its own a folder's archives do not count.
    fs::write(root.path().join("own.png"), picture(9)).unwrap();
    assert_eq!(shades(&open(root.path()).unwrap()), [9]);
}

#[test]
fn damaged_archives_are_named_and_damaged_members_are_single_failures() {
    let root = tempfile::tempdir().unwrap();
    let place = |name: &str| root.path().join(name);
    write_tar(&place("cut.tar"), &[("a.png", &picture(1)), ("b.png", &picture(2))]);
    let bytes = fs::read(place("cut.tar")).unwrap();
    // The second member's header is whole, its content is not.
    fs::write(place("cut.tar"), &bytes[..1536 + 40]).unwrap();
    assert!(open(&place("cut.tar")).unwrap_err().contains("ends inside `b.png`"));
    write_zip(&place("bad.zip"), &[("a.png", &picture(1)), ("b.png", b"no picture")], zip::CompressionMethod::Deflated);
    let bad = open(&place("bad.zip")).unwrap();
    assert!(bad.images[0].decode(&Reading::default()).is_ok());
    assert_eq!(bad.images[1].decode(&Reading::default()), Err(DecodeError::NotAnImage));
    for (name, bytes, reason) in [
        ("text.tar", &b"Dear diary"[..], "cannot use the archive"),
        ("noise.tar", &[7; 2048][..], "cannot use the archive"),
        ("text.zip", &b"Dear diary"[..], "cannot use the archive"),
        ("empty.zip", &b""[..], "cannot use the archive"),
        ("shard.tar.gz", &b"\x1F\x8B"[..], "unpack it to .tar"),
        ("empty.tar", &[0; 1024][..], "no images in"),
    ] {
        fs::write(place(name), bytes).unwrap();
        let error = open(&place(name)).unwrap_err();
        assert!(error.contains(reason), "{name}: {error}");
    }
}

#[test]
fn a_list_written_down_is_the_same_list() {
    let root = tempfile::tempdir().unwrap();
    touch(root.path(), &["x/1.jpg", "x/2, \"b\".jpg", "y/1.jpg"]);
    write_tar(&root.path().join("shard.tar"), &[("a.png", &picture(1)), ("b.png", &picture(2))]);
    write_zip(&root.path().join("p.zip"), &[("c.png", &picture(3))], zip::CompressionMethod::Deflated);
    let inputs = ["x", "y", "x/1.jpg", "shard.tar", "p.zip"].map(|name| root.path().join(name).display().to_string());
    let source = Source::open(&inputs).unwrap();
    assert_eq!(source.inputs, [2, 1, 0, 2, 1]);
    let path = root.path().join("images.csv.gz");
    let mut bytes = Vec::new();
    source.write_manifest(&mut bytes).unwrap();
    fs::write(&path, &bytes).unwrap();
    assert_eq!(Source::read_manifest(&path, 5).unwrap(), source);
    assert!(Source::read_manifest(&path, 2).unwrap_err().to_string().contains("there are 2"));
    for len in 0..bytes.len() {
        fs::write(&path, &bytes[..len]).unwrap();
        assert!(Source::read_manifest(&path, 5).is_err(), "cut to {len} bytes");
    }
}

#[test]
fn tables_name_images_and_labels() {
    let root = tempfile::tempdir().unwrap();
    touch(root.path(), &["x/1.jpg", "x/2.jpg"]);
    let table = root.path().join("images.csv");
    fs::write(&table, "\u{feff}id, Path ,label\n7,x/2.jpg,\"dog, big\"\n8,x/1.jpg,cat\n9,,cat\n").unwrap();
    assert_eq!(names(&open(&table).unwrap()), ["x/2.jpg", "x/1.jpg"]);
    let labelled = Source::labelled(&table).unwrap();
    assert_eq!(labelled.classes, ["cat", "dog, big"]);
    assert_eq!(labelled.images.iter().map(|image| image.label.unwrap()).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(names(&labelled), ["x/1.jpg", "x/2.jpg"], "by class");
    for (text, reason) in [
        ("a,b\n1,2\n", "it has `a`, `b`"),
        ("path\nx/3.jpg\n", "listed in"),
        ("path,label\nx/1.jpg\n", "cannot use the table"),
        ("path\n", "no images in"),
    ] {
        fs::write(&table, text).unwrap();
        let error = open(&table).unwrap_err();
        assert!(error.contains(reason), "{text}: {error}");
    }
    fs::write(&table, "path,label\nx/1.jpg,\n").unwrap();
    assert!(Source::labelled(&table).unwrap_err().to_string().contains("`x/1.jpg` has no label"));
    fs::write(&table, "path\nx/1.jpg\n").unwrap();
    assert!(Source::labelled(&table).unwrap_err().to_string().contains("`label`"));
}
