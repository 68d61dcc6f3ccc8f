//! Files of other programs: `.pth` in both formats, safetensors, names. Fixtures: `parity/generate/formats.py`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail like tests")]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dinoxide::checkpoint::atomic::write_atomic;
use dinoxide::checkpoint::names::{self, FileKind};
use dinoxide::checkpoint::{
    CheckpointError, ElementType, NamedTensor, ROOT, Section, TensorFile, match_names, pytorch, read_any, safetensors,
};
use proptest::prelude::*;

const FIXTURES: [&str; 9] = [
    "backbone_zip",
    "backbone_legacy",
    "odd_zip",
    "odd_legacy",
    "odd_zip_protocol5",
    "full_zip",
    "full_legacy",
    "trap_zip",
    "whole_module_zip",
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("parity/fixtures/formats/{name}.pth"))
}

fn ramp(count: usize, scale: f32) -> Vec<f32> {
    (1..=count).map(|value| value as f32 * scale).collect()
}

/// Reads every tensor of every section, as far as the file allows.
fn read_everything(path: &Path) -> Result<usize, CheckpointError> {
    let mut file = pytorch::read(path)?;
    let mut values = 0;
    for section in file.section_names() {
        values += file.tensors(&section)?.iter().map(|tensor| tensor.values.len()).sum::<usize>();
    }
    Ok(values)
}

fn error_of<T>(result: Result<T, CheckpointError>) -> String {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error.to_string(),
    }
}

fn assert_is_backbone(name: &str) {
    let tensors = read_any(&fixture(name)).unwrap().network(Section::Teacher).unwrap().tensors;
    let names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let expected =
        ["cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", "norm.weight", "norm.bias"];
    assert_eq!(names, expected);
    assert_eq!(tensors[2].shape, [4, 3, 2, 2]);
    assert_eq!(tensors[2].values, ramp(48, 0.5));
}

#[test]
fn backbone_is_read_from_the_zip_format() {
    assert_is_backbone("backbone_zip");
}

#[test]
fn backbone_is_read_from_the_legacy_format() {
    assert_is_backbone("backbone_legacy");
}

fn assert_odd_tensors(name: &str) {
    let mut file = pytorch::read(&fixture(name)).unwrap();
    let tensors = TensorFile { tensors: file.tensors(ROOT).unwrap(), metadata: BTreeMap::new() };
    let get = |name: &str| {
        let tensor = tensors.tensor(name).unwrap();
        (tensor.shape.clone(), tensor.values.clone(), tensor.stored)
    };
    assert_eq!(get("half"), (vec![2, 3], ramp(6, 0.5), ElementType::F16));
    assert_eq!(get("bfloat16"), (vec![2, 3], ramp(6, 0.5), ElementType::BF16));
    assert_eq!(get("double"), (vec![2, 3], ramp(6, 0.5), ElementType::F64));
    assert_eq!(get("int64"), (vec![4], ramp(4, 1.0), ElementType::I64));
    assert_eq!(get("int32"), (vec![4], vec![-2.0, -1.0, 0.0, 1.0], ElementType::I32));
    assert_eq!(get("uint8"), (vec![4], vec![252.0, 253.0, 254.0, 255.0], ElementType::U8));
    assert_eq!(get("bool"), (vec![3], vec![1.0, 0.0, 1.0], ElementType::Bool));
    assert_eq!(get("zero_dim"), (vec![], vec![7.0], ElementType::I64));
    assert_eq!(get("empty"), (vec![0, 3], vec![], ElementType::F32));
    assert_eq!(get("transposed"), (vec![3, 2], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0], ElementType::F32));
    assert_eq!(get("shared_head"), (vec![4], ramp(4, 1.0), ElementType::F32));
    assert_eq!(get("shared_tail"), (vec![2, 4], ramp(12, 1.0)[4..].to_vec(), ElementType::F32));
    assert_eq!(get("every_third"), (vec![4], vec![2.0, 5.0, 8.0, 11.0], ElementType::F32));
    assert_eq!(get("expanded"), (vec![4], vec![3.0; 4], ElementType::F32));
    assert_eq!(get("parameter"), (vec![3], ramp(3, 0.5), ElementType::F32));
    assert_eq!(tensors.tensors.len(), 15);
}

#[test]
fn every_element_type_and_stride_is_read_from_the_zip_format() {
    assert_odd_tensors("odd_zip");
}

#[test]
fn every_element_type_and_stride_is_read_from_the_legacy_format() {
    assert_odd_tensors("odd_legacy");
}

#[test]
fn pickle_protocol_5_is_read() {
    assert_odd_tensors("odd_zip_protocol5");
}

fn assert_full_checkpoint(name: &str) {
    let mut file = pytorch::read(&fixture(name)).unwrap();
    assert_eq!(file.section_names(), ["student", "teacher", "optimizer", "dino_loss"]);
    assert_eq!(names::file_kind(&file.section_names()), FileKind::FullCheckpoint);
    assert_eq!(file.scalars()["epoch"], "20");
    assert_eq!(file.scalars()["optimizer.param_groups.0.lr"], "0.001");
    assert_eq!(file.args()["arch"], "vit_small");
    assert_eq!(file.args()["global_crops_scale"], "(0.4, 1.0)");
    assert_eq!(file.args()["use_fp16"], "True");
    assert_eq!(file.args()["dist_url"], "None");
    assert_eq!(file.tensors("dino_loss").unwrap()[0], NamedTensor::new("center", vec![1, 3], ramp(3, -1.0)));
    let moments = file.tensors("optimizer").unwrap();
    assert_eq!(moments[1].name, "state.0.exp_avg");
    assert_eq!(moments[1].shape, [2, 3]);
    let mut any = read_any(&fixture(name)).unwrap();
    let (student, teacher) =
        (any.network(Section::Student).unwrap().tensors, any.network(Section::Teacher).unwrap().tensors);
    assert_eq!(student[0], NamedTensor::new("cls_token", vec![1, 1, 4], ramp(4, 0.25)));
    assert_eq!(teacher[0], NamedTensor::new("cls_token", vec![1, 1, 4], ramp(4, 0.5)));
    assert_eq!(student.last().unwrap().name, "head.last_layer.weight_g");
}

#[test]
fn full_checkpoint_is_read_from_the_zip_format() {
    assert_full_checkpoint("full_zip");
}

#[test]
fn full_checkpoint_is_read_from_the_legacy_format() {
    assert_full_checkpoint("full_legacy");
}

#[test]
fn nothing_in_a_pickle_is_executed() {
    let mut file = pytorch::read(&fixture("trap_zip")).unwrap();
    assert_eq!(file.opaque(), [("trap".to_owned(), "__builtin__.exec".to_owned())]);
    assert_eq!(file.tensors(ROOT).unwrap()[0].values, ramp(2, 0.5));
    assert!(!Path::new("pickle_was_executed").exists());
}

#[test]
fn whole_pickled_module_is_refused_with_advice() {
    let message = error_of(pytorch::read(&fixture("whole_module_zip")));
    assert!(message.contains("torch.save(model.state_dict(), path)"), "{message}");
}

#[test]
fn truncation_at_every_length_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.pth");
    for name in ["backbone_zip", "backbone_legacy", "odd_legacy"] {
        let whole = fs::read(fixture(name)).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(read_any(&path).is_err(), "{name} cut to {length} bytes was accepted");
        }
    }
}

#[test]
fn a_flipped_value_bit_in_a_zip_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flipped.pth");
    let mut bytes = fs::read(fixture("backbone_zip")).unwrap();
    let needle: Vec<u8> = ramp(48, 0.5).iter().flat_map(|value| value.to_le_bytes()).collect();
    let start = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    bytes[start + 20] ^= 4;
    fs::write(&path, &bytes).unwrap();
    let message = error_of(read_everything(&path));
    assert!(message.contains("storage `2`"), "{message}");
}

/// Protocol 2, then `opcodes`, as the older torch format would hold them.
fn legacy_with(opcodes: &[u8]) -> Vec<u8> {
    let magic = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
    let mut bytes = [&[0x80, 2, 0x8a, 10][..], &magic, b"."].concat();
    bytes.extend(b"\x80\x02M\xe9\x03.\x80\x02}.\x80\x02");
    bytes.extend(opcodes);
    bytes.extend(b"\x80\x02].");
    bytes
}

fn error_of_legacy(opcodes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made.pth");
    fs::write(&path, legacy_with(opcodes)).unwrap();
    error_of(read_everything(&path))
}

#[test]
fn hostile_structures_hit_a_limit() {
    // A list that contains itself.
    let circle = error_of_legacy(b"}X\x01\x00\x00\x00a]q\x00h\x00as.");
    assert!(circle.contains("levels of nesting"), "{circle}");
    // Thirty tuples, each twice the one before.
    let doubling = [&b"}X\x01\x00\x00\x00a)"[..], &b"2\x86".repeat(30), b"s."].concat();
    let message = error_of_legacy(&doubling);
    assert!(message.contains("values"), "{message}");
    // A text of four gigabytes that is not there.
    let message = error_of_legacy(b"}X\xff\xff\xff\xffa");
    assert!(message.contains("ends too early"), "{message}");
    // A tensor larger than its storage.
    let tensor =
        b"}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n\
        X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQK\x00J\xff\xff\xff\x7f\x85K\x01\x85tRs.";
    let message = error_of_legacy(tensor);
    assert!(message.contains("arguments that make no sense"), "{message}");
    // One element repeated two billion times.
    let mut expanded = tensor.to_vec();
    let stride = expanded.len() - 6;
    assert_eq!(expanded[stride], 1);
    expanded[stride] = 0;
    let message = error_of_legacy(&expanded);
    assert!(message.contains("tensor values beyond the limit"), "{message}");
}

#[test]
fn files_are_told_by_content() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |bytes: &[u8]| {
        let path = folder.path().join("unknown.pth");
        fs::write(&path, bytes).unwrap();
        error_of(read_any(&path))
    };
    assert!(refusal(b"").contains("empty"));
    assert!(refusal(b"<!DOCTYPE html>").contains("a web page"));
    assert!(refusal(b"\x80\x02}.").contains("`torch.save` did not write"));
    assert!(refusal(b"hello there, stranger").contains("no known format"));
    let renamed = folder.path().join("weights.pth");
    safetensors::write(&renamed, &[NamedTensor::new("a", vec![], vec![1.0]).as_tensor_ref()], &BTreeMap::new())
        .unwrap();
    assert_eq!(read_any(&renamed).unwrap().section_names(), [ROOT]);
}

#[test]
fn safetensors_return_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let file = TensorFile {
        tensors: vec![
            NamedTensor::new("teacher.backbone.norm.weight", vec![2, 3], ramp(6, 0.5)),
            NamedTensor::new("student.module.backbone.norm.weight", vec![], vec![f32::MIN_POSITIVE]),
            NamedTensor::new("teacher.head.empty", vec![0, 4], vec![]),
        ],
        metadata: BTreeMap::from([("format".to_owned(), "pt".to_owned()), ("a".to_owned(), "b".to_owned())]),
    };
    safetensors::write(&path, &file.tensor_refs(), &file.metadata).unwrap();
    assert_eq!(safetensors::read(&path).unwrap(), file);
    let first = fs::read(&path).unwrap();
    safetensors::write(&path, &file.tensor_refs(), &file.metadata).unwrap();
    assert_eq!(fs::read(&path).unwrap(), first, "equal content gives equal bytes");
    let student = read_any(&path).unwrap().network(Section::Student).unwrap().tensors;
    assert_eq!(student, [NamedTensor::new("norm.weight", vec![], vec![f32::MIN_POSITIVE])]);
}

#[test]
fn inconsistent_tensors_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let wrong = NamedTensor::new("a", vec![3], vec![1.0]);
    let message = error_of(safetensors::write(&path, &[wrong.as_tensor_ref()], &BTreeMap::new()));
    assert_eq!(message, "tensor `a` has shape [3] but 1 values");
    let twice = NamedTensor::new("a", vec![1], vec![1.0]);
    let message = error_of(safetensors::write(&path, &[twice.as_tensor_ref(); 2], &BTreeMap::new()));
    assert!(message.contains("are named `a`"), "{message}");
    assert!(!path.exists());
}

#[test]
fn failed_atomic_write_leaves_the_old_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write_atomic(&path, |file| file.write_all(b"old")).unwrap();
    let full = write_atomic(&path, |file| {
        file.write_all(b"new")?;
        Err(io::ErrorKind::StorageFull.into())
    });
    let message = error_of(full.map_err(|source| CheckpointError::from_io("write", &path, source)));
    assert!(message.contains("the disk is full"), "{message}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn prefixes_are_removed_only_at_the_start() {
    assert_eq!(names::strip_prefixes("module.backbone.norm.weight"), "norm.weight");
    assert_eq!(names::strip_prefixes("backbone.norm.weight"), "norm.weight");
    assert_eq!(names::strip_prefixes("module.head.mlp.0.bias"), "head.mlp.0.bias");
    assert_eq!(names::strip_prefixes("blocks.0.module.weight"), "blocks.0.module.weight");
}

#[test]
fn a_single_network_has_no_student() {
    let mut file = read_any(&fixture("backbone_zip")).unwrap();
    let message = error_of(file.network(Section::Student));
    assert!(message.contains("no section `student`; it has `root`"), "{message}");
}

#[test]
fn every_difference_of_names_is_listed() {
    let expected = [("cls_token", vec![1, 1, 4]), ("pos_embed", vec![1, 10, 4]), ("norm.weight", vec![4])];
    let expected = expected.map(|(name, shape)| (name.to_owned(), shape));
    let found = [
        NamedTensor::new("cls_token", vec![1, 1, 4], vec![0.0; 4]),
        NamedTensor::new("pos_embed", vec![1, 5, 4], vec![0.0; 20]),
        NamedTensor::new("norm.wieght", vec![4], vec![0.0; 4]),
        NamedTensor::new("head.mlp.0.bias", vec![1], vec![0.0]),
    ];
    let report = match_names(&expected, &found, &["head."]);
    assert_eq!(report.ignored, ["head.mlp.0.bias"]);
    let message = error_of(report.into_result(Path::new("weights.pth")));
    let wanted = "the weights of `weights.pth` do not fit the network
1 tensors match, 1 are not wanted here
1 missing in the file:
  `norm.weight` (is `norm.wieght` meant?)
1 only in the file:
  `norm.wieght`
1 of another shape:
  `pos_embed`: the network has [1, 10, 4], the file [1, 5, 4]; the position embeddings are those of another image or \
                  patch size";
    assert_eq!(message, wanted);
}

#[test]
fn complete_match_is_no_error() {
    let found = [NamedTensor::new("norm.weight", vec![4], vec![0.0; 4])];
    let report = match_names(&[("norm.weight".to_owned(), vec![4])], &found, &[]);
    assert_eq!(report.into_result(Path::new("weights.pth")).unwrap().matched, ["norm.weight"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(start in 0..4_usize, bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("random");
        let whole = match start {
            0 => bytes,
            1 => legacy_with(&bytes),
            2 => [b"PK\x03\x04".to_vec(), bytes].concat(),
            _ => [b"\x40\0\0\0\0\0\0\0{".to_vec(), bytes].concat(),
        };
        fs::write(&path, whole).unwrap();
        let _ = read_any(&path);
        let _ = read_everything(&path);
    }

    #[test]
    fn random_opcodes_never_panic(picks in proptest::collection::vec(0..OPCODES.len(), 0..60)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("opcodes");
        let bytes: Vec<u8> = picks.iter().flat_map(|pick| OPCODES[*pick].to_vec()).collect();
        fs::write(&path, legacy_with(&bytes)).unwrap();
        let _ = read_everything(&path);
    }

    #[test]
    fn mutated_safetensors_never_panic(index in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mutated");
        let tensor = NamedTensor::new("teacher.norm.weight", vec![2, 3], ramp(6, 0.5));
        safetensors::write(&path, &[tensor.as_tensor_ref()], &BTreeMap::new()).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let index = index.index(bytes.len());
        bytes[index] = byte;
        fs::write(&path, bytes).unwrap();
        let _ = safetensors::read(&path);
        let _ = read_any(&path).and_then(|mut file| file.network(Section::Teacher));
    }

    #[test]
    fn mutated_files_never_panic(
        name in 0..FIXTURES.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mutated");
        let mut bytes = fs::read(fixture(FIXTURES[name])).unwrap();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        fs::write(&path, bytes).unwrap();
        let _ = read_any(&path);
        let _ = read_everything(&path);
    }
}

/// Whole instructions, so that random sequences get further than random bytes.
const OPCODES: [&[u8]; 40] = [
    b"(",
    b".",
    b"0",
    b"1",
    b"2",
    b"N",
    b"\x88",
    b"K\x01",
    b"J\xff\xff\xff\xff",
    b"]",
    b")",
    b"}",
    b"a",
    b"e",
    b"s",
    b"u",
    b"t",
    b"\x85",
    b"\x86",
    b"\x87",
    b"l",
    b"d",
    b"q\x00",
    b"q\x01",
    b"h\x00",
    b"h\x01",
    b"\x94",
    b"b",
    b"R",
    b"\x81",
    b"Q",
    b"\x8f",
    b"\x90",
    b"X\x07\x00\x00\x00storage",
    b"ctorch\nFloatStorage\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ccollections\nOrderedDict\n",
    b"cargparse\nNamespace\n",
    b"\x93",
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000NK\x04tQ",
];
