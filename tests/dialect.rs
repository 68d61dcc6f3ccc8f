//! The names of other programs: there and back, and folders that describe their weights.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

use std::fs;
use std::path::Path;

use dinoxide::checkpoint::dialect::{Dialect, HuggingFaceModel, hugging_face, official};
use dinoxide::checkpoint::{NamedTensor, Section, read_any, safetensors};
use dinoxide::run::input::Network;
use dinoxide::run::inspect::inspect;
use dinoxide::run::model::Model;

const WIDTH: usize = 12;

/// The tensors of a ViT of two blocks, with values that tell each element from every other.
fn vit() -> Vec<NamedTensor> {
    let mut shapes: Vec<(String, Vec<usize>)> = vec![
        ("cls_token".into(), vec![1, 1, WIDTH]),
        ("pos_embed".into(), vec![1, 17, WIDTH]),
        ("patch_embed.proj.weight".into(), vec![WIDTH, 3, 8, 8]),
        ("patch_embed.proj.bias".into(), vec![WIDTH]),
    ];
    for block in 0..2 {
        let mut push = |name: &str, rows: usize, columns: usize| {
            shapes.push((
                format!("blocks.{block}.{name}.weight"),
                if columns == 0 { vec![rows] } else { vec![rows, columns] },
            ));
            shapes.push((format!("blocks.{block}.{name}.bias"), vec![rows]));
        };
        push("norm1", WIDTH, 0);
        push("attn.qkv", 3 * WIDTH, WIDTH);
        push("attn.proj", WIDTH, WIDTH);
        push("norm2", WIDTH, 0);
        push("mlp.fc1", 4 * WIDTH, WIDTH);
        push("mlp.fc2", WIDTH, 4 * WIDTH);
    }
    shapes.push(("norm.weight".into(), vec![WIDTH]));
    shapes.push(("norm.bias".into(), vec![WIDTH]));
    let mut next = 0.0;
    let filled = shapes.into_iter().map(|(name, shape)| {
        let values = (0..shape.iter().product::<usize>()).map(|_| {
            next += 1.0 / 1024.0;
            next
        });
        NamedTensor::new(name, shape, values.collect())
    });
    filled.collect()
}

fn sorted(mut tensors: Vec<NamedTensor>) -> Vec<NamedTensor> {
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    tensors
}

#[test]
fn names_of_transformers_and_back_change_no_value() {
    let theirs = hugging_face(vit(), HuggingFaceModel::Vit);
    // 16 of each block instead of 12: queries, keys and values are apart.
    assert_eq!(theirs.len(), 4 + 2 * 16 + 2);
    let query = theirs.iter().find(|tensor| tensor.name == "encoder.layer.1.attention.attention.query.weight").unwrap();
    let ours = vit();
    let qkv = ours.iter().find(|tensor| tensor.name == "blocks.1.attn.qkv.weight").unwrap();
    assert_eq!((query.shape.as_slice(), &query.values[..]), (&[WIDTH, WIDTH][..], &qkv.values[..WIDTH * WIDTH]));
    let (back, dialect) = official(theirs);
    assert_eq!(dialect, Dialect::HuggingFace);
    assert_eq!(sorted(back), sorted(vit()));
}

#[test]
fn names_in_the_memory_of_transformers_5_and_of_a_task_are_known() {
    let renamed = hugging_face(vit(), HuggingFaceModel::Vit).into_iter().map(|tensor| {
        let name =
            tensor.name.replace("encoder.layer.", "layers.").replace("attention.attention.query", "attention.q_proj");
        let name = name
            .replace("attention.attention.key", "attention.k_proj")
            .replace("attention.attention.value", "attention.v_proj");
        let name = name.replace("attention.output.dense", "attention.o_proj").replace("intermediate.dense", "mlp.fc1");
        let name = if name.starts_with("layers.") { name.replace(".output.dense", ".mlp.fc2") } else { name };
        NamedTensor { name: format!("vit.{name}"), ..tensor }
    });
    let (back, _) = official(renamed.collect());
    assert_eq!(sorted(back), sorted(vit()));
}

#[test]
fn chunks_and_parametrizations_are_taken_off() {
    let chunked = vit().into_iter().map(|tensor| {
        let name = tensor.name.replace("blocks.0.", "blocks.0.0.").replace("blocks.1.", "blocks.1.1.");
        NamedTensor { name, ..tensor }
    });
    assert_eq!(official(chunked.collect()).0, vit());
    let head = ["original0", "original1"]
        .map(|part| NamedTensor::new(format!("head.last_layer.parametrizations.weight.{part}"), vec![1], vec![1.0]));
    let names: Vec<String> = official(head.to_vec()).0.into_iter().map(|tensor| tensor.name).collect();
    assert_eq!(names, ["head.last_layer.weight_g", "head.last_layer.weight_v"]);
}

#[test]
fn incomplete_thirds_show_as_missing() {
    let mut theirs = hugging_face(vit(), HuggingFaceModel::Vit);
    theirs.retain(|tensor| tensor.name != "encoder.layer.0.attention.attention.key.bias");
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &theirs);
    let error = Model::load(folder.path(), Network::Teacher).unwrap_err().to_string();
    assert!(error.contains("missing") && error.contains("blocks.0.attn.qkv.bias"), "{error}");
    assert!(error.contains("encoder.layer.0.attention.attention.query.bias"), "{error}");
}

fn write_folder(folder: &Path, tensors: &[NamedTensor]) {
    let refs: Vec<_> = tensors.iter().map(NamedTensor::as_tensor_ref).collect();
    safetensors::write(&folder.join("model.safetensors"), &refs, &Default::default()).unwrap();
    describe(folder);
}

fn describe(folder: &Path) {
    let config = r#"{"model_type": "vit", "num_attention_heads": 3, "hidden_act": "gelu", "layer_norm_eps": 1e-6}"#;
    fs::write(folder.join("config.json"), config).unwrap();
    let images = r#"{"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32},
        "image_mean": [0.5, 0.25, 0.125], "image_std": [0.25, 0.5, 1.0]}"#;
    fs::write(folder.join("preprocessor_config.json"), images).unwrap();
}

#[test]
fn a_folder_states_heads_and_images() {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &hugging_face(vit(), HuggingFaceModel::Vit));
    let model = Model::load(folder.path(), Network::Teacher).unwrap();
    let config = model.backbone.vit().unwrap().config();
    assert_eq!((config.num_heads, config.depth, config.image_size), (3, 2, 32));
    assert_eq!(config.normalize.mean, [0.5, 0.25, 0.125]);
    assert_eq!(config.normalize.std, [0.25, 0.5, 1.0]);
    assert_eq!(model.transform.size(), (32, 32));
    let report = inspect(folder.path(), Network::Teacher).unwrap();
    let backbone = report.network.unwrap().backbone.unwrap();
    assert_eq!((backbone.matched, backbone.needed, backbone.differences), (30, 30, None));
}

#[test]
fn weights_in_several_files_are_put_together() {
    let folder = tempfile::tempdir().unwrap();
    describe(folder.path());
    let theirs = hugging_face(vit(), HuggingFaceModel::Vit);
    let mut map = serde_json::Map::new();
    for (number, part) in theirs.chunks(20).enumerate() {
        let file = format!("model-0000{}-of-00002.safetensors", number + 1);
        let refs: Vec<_> = part.iter().map(NamedTensor::as_tensor_ref).collect();
        safetensors::write(&folder.path().join(&file), &refs, &Default::default()).unwrap();
        map.extend(part.iter().map(|tensor| (tensor.name.clone(), file.clone().into())));
    }
    let index = folder.path().join("model.safetensors.index.json");
    let write = |map: &serde_json::Map<String, serde_json::Value>| {
        fs::write(&index, serde_json::json!({ "weight_map": map }).to_string()).unwrap();
    };
    write(&map);
    for path in [folder.path(), &index] {
        let tensors = read_any(path).unwrap().network(Section::Teacher).unwrap().tensors;
        assert_eq!(sorted(tensors), sorted(vit()));
    }
    // A tensor that its file lacks, and a file outside the folder.
    for (file, message) in
        [("model-00001-of-00002.safetensors", "has not"), ("../elsewhere.safetensors", "no file of its folder")]
    {
        let mut wrong = map.clone();
        wrong.insert("layernorm.more".to_owned(), file.into());
        write(&wrong);
        let error = read_any(folder.path()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(message) && error.contains("index.json"), "{error}");
    }
}

#[test]
fn folders_that_cannot_be_used_say_why() {
    let folder = tempfile::tempdir().unwrap();
    describe(folder.path());
    let error = Model::load(folder.path(), Network::Teacher).unwrap_err().to_string();
    assert!(error.contains("model.safetensors"), "{error}");
    write_folder(folder.path(), &hugging_face(vit(), HuggingFaceModel::Vit));
    fs::write(folder.path().join("config.json"), r#"{"num_attention_heads": 3, "hidden_act": "relu"}"#).unwrap();
    let error = Model::load(folder.path(), Network::Teacher).unwrap_err().to_string();
    assert!(error.contains("relu"), "{error}");
    let error = inspect(&folder.path().join("config.json"), Network::Teacher).unwrap_err().to_string();
    assert!(error.contains("give its folder"), "{error}");
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = hugging_face(vit(), HuggingFaceModel::Vit);
    tensors.last_mut().unwrap().values[3] = f32::NAN;
    write_folder(folder.path(), &tensors);
    let error = Model::load(folder.path(), Network::Teacher).unwrap_err().to_string();
    assert!(error.contains("NaN") && error.contains("norm.bias"), "{error}");
    let report = inspect(folder.path(), Network::Teacher).unwrap();
    assert_eq!(report.network.unwrap().not_finite, ["norm.bias"]);
}

#[test]
fn a_header_without_end_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.safetensors");
    let mut bytes = 100_000_000_000_u64.to_le_bytes().to_vec();
    bytes.extend(b"{\"a\": 1}");
    fs::write(&path, bytes).unwrap();
    let error = inspect(&path, Network::Teacher).unwrap_err().to_string();
    assert!(error.contains("too large"), "{error}");
}
