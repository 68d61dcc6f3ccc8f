//! Feature files through the public API, read back.
#![expect(clippy::unwrap_used, reason = "a test helper may panic: that fails the test")]

use std::io::Read;
use std::path::Path;

use dinoxide::eval::EvalError;
use dinoxide::eval::embedding::{FeatureKind, FeatureWriter};

/// The bytes of one member of a `.npz` file.
fn member(path: &Path, name: &str) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut bytes = Vec::new();
    archive.by_name(name).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn array(path: &Path, name: &str) -> (Vec<u64>, Vec<f32>) {
    let bytes = member(path, name);
    let file = npyz::NpyFile::new(&bytes[..]).unwrap();
    (file.shape().to_vec(), file.into_vec().unwrap())
}

/// Shape, width and texts of an array of fixed-width text.
fn texts(path: &Path) -> (Vec<u64>, usize, Vec<String>) {
    let bytes = member(path, "filenames.npy");
    let file = npyz::NpyFile::new(&bytes[..]).unwrap();
    let dtype = file.dtype().descr();
    let width: usize = dtype.trim_matches('\'').strip_prefix("<U").unwrap().parse().unwrap();
    let header = 10 + u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    assert_eq!(header % 64, 0, "numpy aligns the values to 64 bytes");
    let text = |row: &[u8]| -> String {
        let points = row.chunks_exact(4).map(|point| u32::from_le_bytes(point.try_into().unwrap()));
        points.take_while(|&point| point != 0).map(|point| char::from_u32(point).unwrap()).collect()
    };
    (file.shape().to_vec(), width, bytes[header..].chunks_exact(width * 4).map(text).collect())
}

#[test]
fn npz_holds_names_and_embeddings_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/out.npz");
    let mut writer = FeatureWriter::create(&path, FeatureKind::Embeddings, &[3]).unwrap();
    writer.push("cat/a.jpg", &[1.0, -2.5, 3.25]).unwrap();
    writer.push("Zoë/𝛼.png", &[0.1, f32::MIN_POSITIVE, -0.0]).unwrap();
    writer.finish().unwrap();

    assert_eq!(texts(&path), (vec![2], 9, vec!["cat/a.jpg".to_owned(), "Zoë/𝛼.png".to_owned()]));
    assert_eq!(array(&path, "embeddings.npy"), (vec![2, 3], vec![1.0, -2.5, 3.25, 0.1, f32::MIN_POSITIVE, -0.0]));
}

#[test]
fn npz_holds_tokens_and_attention_with_three_axes() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, name) in [(FeatureKind::Tokens, "tokens.npy"), (FeatureKind::Attention, "attention.npy")] {
        let path = folder.path().join("out.npz");
        let mut writer = FeatureWriter::create(&path, kind, &[2, 3]).unwrap();
        writer.push("a", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        writer.finish().unwrap();

        assert_eq!(array(&path, name), (vec![1, 2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    }
}

#[test]
fn a_file_of_no_images_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.npz");
    FeatureWriter::create(&path, FeatureKind::Embeddings, &[3]).unwrap().finish().unwrap();

    assert_eq!(texts(&path), (vec![0], 1, vec![]));
    assert_eq!(array(&path, "embeddings.npy"), (vec![0, 3], vec![]));
}

#[test]
fn csv_has_a_header_and_quotes_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.csv");
    let mut writer = FeatureWriter::create(&path, FeatureKind::Embeddings, &[2]).unwrap();
    writer.push("a, b.jpg", &[0.1, -2.0]).unwrap();
    writer.push("c.jpg", &[1e-20, 3.0]).unwrap();
    writer.finish().unwrap();

    let text = std::fs::read_to_string(&path).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(text.lines().next(), Some("filename,embedding_0,embedding_1"));
    let rows: Vec<(String, f32, f32)> = reader.deserialize().map(Result::unwrap).collect();
    assert_eq!(rows, [("a, b.jpg".to_owned(), 0.1, -2.0), ("c.jpg".to_owned(), 1e-20, 3.0)]);
}

#[test]
fn nothing_appears_or_changes_before_finish() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["out.npz", "out.csv"] {
        let path = folder.path().join(name);
        std::fs::write(&path, "older").unwrap();
        let mut writer = FeatureWriter::create(&path, FeatureKind::Embeddings, &[1]).unwrap();
        writer.push("a", &[1.0]).unwrap();
        drop(writer);

        assert_eq!(std::fs::read_to_string(&path).unwrap(), "older");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "temporary files are gone");
}

#[cfg(unix)]
#[test]
fn the_file_is_as_readable_as_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.csv");
    FeatureWriter::create(&path, FeatureKind::Embeddings, &[1]).unwrap().finish().unwrap();
    let ordinary = folder.path().join("ordinary");
    std::fs::write(&ordinary, "").unwrap();

    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&path), mode(&ordinary));
}

#[test]
fn what_cannot_be_written_is_refused_at_once() {
    let create = |name: &str, kind| FeatureWriter::create(Path::new(name), kind, &[2]);

    assert!(matches!(create("out.txt", FeatureKind::Embeddings), Err(EvalError::UnknownFormat { .. })));
    assert!(matches!(create("out", FeatureKind::Embeddings), Err(EvalError::UnknownFormat { .. })));
    assert!(matches!(create("out.csv", FeatureKind::Tokens), Err(EvalError::CsvShape { .. })));
    let folder = tempfile::tempdir().unwrap();
    let mut writer = FeatureWriter::create(&folder.path().join("a.npz"), FeatureKind::Embeddings, &[2]).unwrap();
    assert!(matches!(writer.push("a", &[1.0]), Err(EvalError::Size { .. })));
}
