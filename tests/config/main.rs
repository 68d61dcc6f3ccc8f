//! The configuration through its public face: sources, messages, the plan, the round trip.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod methods;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use dinoxide::config::{
    Choice, Config, ConfigError, Facts, HeadConfig, InitFacts, KEYS, ModelConfig, Origin, Partial, PixelFacts,
    Precision, recipe, resolve,
};
use dinoxide::nn::pos_embed::Resampling;
use dinoxide::nn::vit::Ffn;
use dinoxide_engine::kernels::Normalize;

fn facts(images: usize, side: u32) -> Facts {
    Facts {
        images,
        median_size: Some((side, side)),
        cores: 2,
        memory_bytes: 8 << 30,
        free_bytes: 8 << 30,
        bf16: false,
        val_classes: None,
        pixels: None,
        init: None,
        speed: None,
    }
}

fn given(sets: &[&str]) -> Partial {
    let mut partial = Partial::default();
    partial.set("data.train=photos").unwrap();
    for set in sets {
        partial.set(set).unwrap();
    }
    partial.on_recipe().unwrap()
}

fn plan(sets: &[&str], facts: &Facts) -> (Config, Vec<Choice>) {
    resolve(&given(sets), facts).unwrap()
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    (folder, path)
}

fn message(text: &str) -> String {
    let (_folder, path) = file(text);
    let error = Partial::from_file(&path).unwrap_err().to_string();
    error.replace(&path.display().to_string(), "config.toml")
}

#[test]
fn unknown_key_in_a_file_is_named_with_its_line_and_the_nearest_key() {
    assert_eq!(
        message("[run]\nepochs = 3\n[dino]\nteachr_temp = [0.02, 0.03]\n"),
        "config.toml:4: unknown key `dino.teachr_temp`; did you mean `dino.teacher_temp`?"
    );
}

#[test]
fn unknown_key_inside_an_inline_table_is_found() {
    assert_eq!(
        message("[views]\n\nlocal = { size = 96, cuont = 8 }\n"),
        "config.toml:3: unknown key `views.local.cuont`; did you mean `views.local.count`?"
    );
}

#[test]
fn unknown_section_suggests_the_key_of_that_name() {
    assert!(message("[optimizer]\nlr = 0.1\n").starts_with("config.toml:1: unknown key `optimizer`"));
    let error = Partial::default().set("lr=0.1").unwrap_err().to_string();
    assert_eq!(error, "--set: unknown key `lr`; did you mean `optim.lr`?");
}

#[test]
fn key_unlike_any_other_gets_no_suggestion() {
    let error = Partial::default().set("qqqq=1").unwrap_err();
    assert!(matches!(error, ConfigError::UnknownKey { suggestion: None, .. }), "{error}");
}

#[test]
fn bad_value_says_key_value_and_what_is_allowed() {
    assert_eq!(
        message("[optim]\nname = \"adam\"\n"),
        "config.toml:2: bad value `\"adam\"` for `optim.name`; allowed: `adamw`, `sgd`, `lars`"
    );
    assert!(message("[run]\nepochs = \"many\"\n").starts_with("config.toml:2: bad value `\"many\"` for `run.epochs`"));
}

#[test]
fn value_out_of_range_says_where_it_was_written() {
    let error = resolve(&given(&["data.max_bad=2"]), &facts(5000, 500)).unwrap_err();
    assert_eq!(error.to_string(), "--set: bad value `2` for `data.max_bad`; allowed: 0 to 1");
}

#[test]
fn broken_toml_is_reported_with_its_line() {
    assert!(message("[run]\nepochs = \n").starts_with("config.toml:2: not valid TOML"));
}

#[test]
fn set_wins_over_flag_over_file_over_recipe() {
    let (_folder, path) = file("[run]\nepochs = 2\nbatch = 8\nseed = 4\n");
    let mut partial = Partial::from_file(&path).unwrap();
    partial.insert("run.batch", toml::Value::Integer(16), Origin::Flag("--batch")).unwrap();
    partial.insert("run.seed", toml::Value::Integer(5), Origin::Flag("--seed")).unwrap();
    partial.set("run.seed=6").unwrap();
    partial.set("recipe=dino").unwrap();
    partial.set("data.train=photos").unwrap();
    partial.set("optim.warmup_epochs=1").unwrap();
    let (config, _) = resolve(&partial.on_recipe().unwrap(), &facts(5000, 500)).unwrap();
    assert_eq!((config.run.epochs, config.run.batch, config.run.seed), (2, 16, 6));
    assert_eq!(config.head.out_dim, 65_536);
}

#[test]
fn set_reads_toml_values_and_falls_back_to_text() {
    let (config, _) = plan(
        &["dino.teacher_temp=[0.02, 0.03]", "data.exif=ignore", "views.local={size=48,count=4}", "data.val=val/"],
        &facts(5000, 500),
    );
    assert_eq!(config.dino.teacher_temp, [0.02, 0.03]);
    assert_eq!((config.views.local.size, config.views.local.count), (48, 4));
    assert_eq!(config.data.val.as_deref(), Some("val/"));
}

#[test]
fn set_without_equal_sign_is_explained() {
    let error = Partial::default().set("run.epochs").unwrap_err().to_string();
    assert!(error.contains("has no `=`"), "{error}");
}

#[test]
fn written_configuration_reads_back_as_itself() {
    for recipe in ["recipe=auto", "recipe=dino", "recipe=laptop"] {
        let (config, _) = plan(&[recipe, "data.val=val \"quoted\"", "model.depth=6"], &facts(7321, 333));
        let (_folder, path) = file(&config.to_commented_toml().unwrap());
        assert_eq!(Config::from_file(&path).unwrap(), config);
        let again = Partial::from_file(&path).unwrap().on_recipe().unwrap();
        let (resolved, choices) = resolve(&again, &facts(7321, 333)).unwrap();
        assert_eq!(resolved, config);
        assert_eq!(choices, []);
    }
}

#[test]
fn every_key_is_written_with_a_comment() {
    let text = Config::default().to_commented_toml().unwrap();
    let table: toml::Table = toml::from_str(&text).unwrap();
    assert!(table.contains_key("recipe") && table.contains_key("views"));
    let used = KEYS.iter().filter(|key| Config::default().uses(key.name).unwrap()).count();
    assert_eq!(text.lines().filter(|line| line.contains(" # ") && !line.starts_with("# Complete")).count(), used);
    // `deny_unknown_fields` proves the other direction: no key of the table is unknown to the structs.
    Config::default().differences(&Config::default()).unwrap();
}

#[test]
fn every_recipe_resolves() {
    for recipe in recipe::RECIPES {
        let (config, _) = plan(&[&format!("recipe={}", recipe.name)], &facts(50_000, 400));
        assert_eq!(config.recipe, recipe.name);
        let header = ["paper", "expected", "time", "command"];
        let says = |line: &str| recipe.text.contains(&format!("\n# {line} "));
        assert!(recipe.about().len() > 10 && (recipe.name == "auto" || header.iter().skip(1).all(|line| says(line))));
    }
}

#[test]
fn unknown_recipe_suggests_the_nearest() {
    let error = Partial::from_recipe("labtop").unwrap_err().to_string();
    assert!(error.starts_with("unknown recipe `labtop`; did you mean `laptop`?; known: auto, adapt, "), "{error}");
    assert!(recipe::RECIPES.iter().all(|recipe| error.contains(recipe.name)), "{error}");
}

#[test]
fn dino_recipe_has_the_reference_defaults() {
    let (config, _) = plan(&["recipe=dino"], &facts(64_000, 500));
    assert_eq!(config.model.full_name(), "vit_small_patch16_224");
    assert_eq!(config.dino.freeze_last_layer_steps, 1000);
    assert_eq!(config.optim.warmup_epochs, 10.0);
    assert_eq!((config.views.global.size, config.views.local.size, config.views.local.count), (224, 96, 8));
    assert_eq!(config.views.blur, [1.0, 0.1, 0.5]);
    assert!((config.peak_lr() - 1.25e-4).abs() < 1e-12);
    // ViT-S/16 without a classifier: 21,665,664 parameters (dino.md, 1.1).
    assert_eq!(config.model.parameters(3), 21_665_664);
}

#[test]
fn photos_get_96_px_and_small_images_a_small_patch() {
    let (photos, _) = plan(&[], &facts(5000, 480));
    assert_eq!((photos.model.full_name().as_str(), photos.views.local.size), ("vit_tiny_patch16_96", 48));
    let (cifar, _) = plan(&[], &facts(10_000, 32));
    assert_eq!((cifar.model.full_name().as_str(), cifar.views.local.size), ("vit_tiny_patch8_32", 16));
    assert_eq!(cifar.views.blur, [0.0; 3]);
    let (medium, _) = plan(&[], &facts(10_000, 64));
    assert_eq!((medium.model.full_name().as_str(), medium.views.local.size), ("vit_tiny_patch8_64", 32));
}

#[test]
fn prototypes_and_momentum_follow_the_data() {
    let at = |images| plan(&[], &facts(images, 480)).0;
    let (tiny, small, large) = (at(300), at(20_000), at(1_300_000));
    assert_eq!([tiny.head.out_dim, small.head.out_dim, large.head.out_dim], [256, 1024, 65_536]);
    assert_eq!([tiny.run.batch, small.run.batch, large.run.batch], [32, 32, 128]);
    assert_eq!(at(50_000).run.batch, 64);
    let short = plan(&["run.epochs=1"], &facts(300, 480)).0;
    assert_eq!(short.dino.momentum, [0.95, 1.0]);
    assert!(small.dino.momentum[0] > short.dino.momentum[0]);
}

#[test]
fn warmups_never_exceed_the_run() {
    let (config, choices) = plan(&["recipe=dino", "run.epochs=3"], &facts(5000, 480));
    assert!(config.optim.warmup_epochs <= 0.3);
    assert!(choices.iter().any(|choice| choice.key == "optim.warmup_epochs" && choice.reason.contains("longer")));
    let (auto, _) = plan(&[], &facts(5000, 480));
    assert!(auto.optim.warmup_epochs <= 0.1 * auto.run.epochs as f64);
    assert!(auto.dino.freeze_last_layer_steps * 20 <= auto.total_steps(5000));
}

#[test]
fn data_smaller_than_a_batch_shrinks_the_batch_with_a_notice() {
    let (config, choices) = plan(&["run.batch=256"], &facts(40, 480));
    assert_eq!((config.run.batch, config.run.micro_batch), (40, 40));
    assert!(choices.iter().any(|choice| choice.key == "run.batch" && choice.reason.contains("only 40 images")));
}

#[test]
fn lengths_may_be_shares_epochs_or_steps() {
    let sets = ["run.epochs=20", "run.batch=50", "optim.warmup_epochs=10%", "dino.freeze_last_layer_steps=1.5 epochs"];
    let (config, _) = plan(&sets, &facts(5000, 480));
    assert_eq!(config.optim.warmup_epochs, 2.0);
    assert_eq!(config.dino.freeze_last_layer_steps, 150);
    let error = Partial::default().set("optim.warmup_epochs=soon").unwrap_err().to_string();
    assert!(error.contains("10%") && error.contains("steps"), "{error}");
}

#[test]
fn sizes_in_the_model_name_are_used_and_must_agree() {
    let (config, _) = plan(&["model.name=vit_small_patch8_128"], &facts(5000, 480));
    assert_eq!((config.model.name.as_str(), config.model.patch_size, config.model.image_size), ("vit_small", 8, 128));
    assert_eq!((config.views.global.size, config.views.local.size), (128, 64));
    let text = message("[model]\nname = \"vit_small_patch8\"\npatch_size = 16\n");
    assert!(text.contains("does not go with the 8 in `model.name`") && text.contains("config.toml:3"), "{text}");
}

#[test]
fn model_flag_with_sizes_wins_over_sizes_in_a_file() {
    let (_folder, path) = file("[model]\nname = \"vit_tiny\"\npatch_size = 16\n");
    let mut partial = Partial::from_file(&path).unwrap();
    partial.insert("model.name", "vit_small_patch8".into(), Origin::Flag("--model")).unwrap();
    partial.set("data.train=photos").unwrap();
    let (config, _) = resolve(&partial.on_recipe().unwrap(), &facts(5000, 480)).unwrap();
    assert_eq!(config.model.full_name(), "vit_small_patch8_96");
}

#[test]
fn unknown_model_lists_the_known_ones() {
    let error = resolve(&given(&["model.name=vit_huge"]), &facts(5000, 480)).unwrap_err().to_string();
    assert!(error.contains("vit_tiny, vit_small, vit_base"), "{error}");
}

#[test]
fn crop_that_is_no_multiple_of_the_patch_is_refused_with_a_size_that_is() {
    let error = resolve(&given(&["views.local.size=50"]), &facts(5000, 480)).unwrap_err().to_string();
    assert!(error.contains("use a multiple of 16, such as 48"), "{error}");
}

#[test]
fn no_images_is_an_error_that_names_the_place() {
    let error = resolve(&given(&[]), &facts(0, 480)).unwrap_err().to_string();
    assert!(error.starts_with("0 readable images in [\"photos\"]"), "{error}");
}

#[test]
fn every_choice_has_a_reason_and_stands_in_the_configuration() {
    let (config, choices) = plan(&[], &facts(5000, 480));
    let table: toml::Table = toml::from_str(&config.to_commented_toml().unwrap()).unwrap();
    for Choice { key, value, reason, flag } in &choices {
        let found = key.split('.').try_fold(&toml::Value::Table(table.clone()), |at, part| at.get(part)).cloned();
        assert_eq!(found.map(|found| found.to_string()).as_ref(), Some(value), "{key}");
        assert!(!reason.is_empty() && flag.starts_with("--"), "{key}");
    }
}

#[test]
fn missing_file_is_named() {
    let error = Partial::from_file(Path::new("no/such.toml")).unwrap_err().to_string();
    assert_eq!(error, "cannot read the configuration `no/such.toml`");
}

#[test]
fn automatic_precision_becomes_what_the_processor_can_do() {
    let precision = |asked: &str, bf16: bool| {
        let mut given = Partial::default();
        given.set("data.train=photos").expect("a key");
        given.set(&format!("run.precision={asked}")).expect("a key");
        let given = given.on_recipe().expect("the default recipe");
        resolve(&given, &Facts { bf16, ..facts(5000, 640) }).expect("a plan").0.run.precision
    };
    assert_eq!(precision("auto", true), Precision::Bf16);
    assert_eq!(precision("auto", false), Precision::F32);
    // What was asked for stays, and a run says so where it cannot be had.
    assert_eq!(precision("bf16", false), Precision::Bf16);
    assert_eq!(precision("f32", true), Precision::F32);
}

#[test]
fn a_recipe_of_views_lies_over_the_recipe_and_under_what_is_typed() {
    let (config, _) = plan(&["recipe=laptop", "views.recipe=swav", "views.gray=0.5"], &facts(50_000, 400));
    assert_eq!(config.views.recipe, "swav");
    assert_eq!(config.views.color_jitter.saturation, 0.8);
    assert_eq!(config.views.local.scale, [0.05, 0.14]);
    assert_eq!(config.views.gray, 0.5);
    assert_eq!(config.views.global.size, 96, "sizes are the run's");
    let error = {
        let mut partial = Partial::default();
        partial.set("views.recipe=bjol").unwrap();
        partial.on_recipe().unwrap_err().to_string()
    };
    assert!(error.contains("`byol`"), "{error}");
}

#[test]
fn every_recipe_of_views_can_be_trained_with() {
    for recipe in recipe::VIEW_RECIPES {
        let (config, _) = plan(&[&format!("views.recipe={}", recipe.name)], &facts(50_000, 400));
        assert_eq!(config.views.recipe, recipe.name);
        config.views.validate().unwrap();
        let text = config.to_commented_toml().unwrap();
        let (_folder, path) = file(&text);
        let again = resolve(&Partial::from_file(&path).unwrap().on_recipe().unwrap(), &facts(50_000, 400)).unwrap().0;
        assert_eq!(again, config, "{} does not come back from its file", recipe.name);
    }
}

/// ViT-S/16 as the paper trained it, with or without its head.
fn weights(head: Option<HeadConfig>) -> InitFacts {
    let model = ModelConfig::default();
    let (mean, std) = (vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]);
    InitFacts { model, mean, std, head }
}

#[test]
fn weights_to_start_from_decide_the_network_and_bring_their_recipe() {
    let photos = Facts { init: Some(weights(None)), ..facts(5000, 640) };
    let (config, _) = plan(&["model.init=dino.pth"], &photos);
    assert_eq!((config.recipe.as_str(), config.model.name.as_str()), ("adapt", "vit_small"));
    assert_eq!((config.model.patch_size, config.model.image_size, config.views.global.size), (16, 224, 224));
    assert_eq!((config.model.embed_dim, config.model.depth, config.model.num_heads), (None, None, None));
    // Its head knows nothing: it learns first, for half of the warm-up.
    let warmup = (config.optim.warmup_epochs * config.steps_per_epoch(5000) as f64) as usize;
    assert!(warmup > 10 && config.optim.freeze_backbone_steps == warmup / 2, "{warmup}");
    assert!(config.optim.layer_decay < 1.0);
    let fresh = plan(&[], &facts(5000, 640)).0;
    assert!(
        config.optim.lr < fresh.optim.lr && fresh.optim.layer_decay == 1.0 && fresh.optim.freeze_backbone_steps == 0
    );
}

#[test]
fn weights_with_a_head_bring_it_along() {
    let head = HeadConfig { out_dim: 4096, hidden_dim: 512, ..HeadConfig::default() };
    let small = Facts { init: Some(weights(Some(head.clone()))), ..facts(5000, 100) };
    let (config, _) = plan(&["model.init=checkpoint.pth"], &small);
    assert_eq!(config.head, head);
    assert_eq!(config.optim.freeze_backbone_steps, 0);
    // Images smaller than those of the weights: whole patches of what is there.
    assert_eq!((config.views.global.size, config.model.image_size), (96, 96));
    // A head of another size starts anew.
    let (config, _) = plan(&["model.init=checkpoint.pth", "head.out_dim=512"], &small);
    assert!(config.head.out_dim == 512 && config.optim.freeze_backbone_steps > 0);
    let long = ["model.init=checkpoint.pth", "run.epochs=1", "optim.freeze_backbone_steps=5000"];
    let (config, _) = plan(&long, &small);
    assert_eq!(config.optim.freeze_backbone_steps, config.total_steps(5000) / 2);
    let (config, _) = plan(&["model.init=checkpoint.pth", "recipe=auto"], &small);
    assert_eq!((config.recipe.as_str(), config.optim.layer_decay), ("auto", 1.0));
}

#[test]
fn names_of_dinov2_stand_for_what_makes_its_networks() {
    let photos = facts(5000, 640);
    let (config, _) = plan(&["model.name=dinov2_vits14_reg"], &photos);
    let model = &config.model;
    assert_eq!((model.name.as_str(), model.patch_size, model.registers), ("vit_small", 14, 4));
    assert_eq!((model.layer_scale, model.ffn, model.resampling), (1e-5, Ffn::Mlp, Resampling::Antialiased));
    // Crops are whole patches.
    assert_eq!((config.views.global.size, config.model.image_size, config.views.local.size), (98, 98, 56));
    assert_eq!(model.full_name(), "dinov2_vits14_reg");
    let (giant, _) = plan(&["model.name=dinov2_vitg14"], &photos);
    let sizes = giant.model.backbone(Normalize { mean: vec![0.5; 3], std: vec![0.25; 3] }).unwrap();
    let vit = sizes.vit().unwrap();
    assert_eq!((vit.embed_dim, vit.depth, vit.num_heads, vit.hidden()), (1536, 40, 24, 4096));
    assert_eq!((vit.extras.ffn, vit.extras.registers, vit.extras.layer_scale), (Ffn::SwiGlu, 0, Some(1e-5)));
    // What is given stays.
    let (more, _) = plan(&["model.name=dinov2_vits14_reg", "model.registers=8"], &photos);
    assert_eq!((more.model.registers, more.model.full_name().as_str()), (8, "vit_small_patch14_98"));
    let text = config.to_commented_toml().unwrap();
    let (_folder, path) = file(&text);
    assert_eq!(Config::from_file(&path).unwrap(), config);
}

#[test]
fn weights_of_dinov2_keep_their_positions_and_see_smaller_crops() {
    let model = ModelConfig {
        image_size: 518,
        mask_token: true,
        registers: 4,
        ..ModelConfig::dinov2("dinov2_vitb14").unwrap()
    };
    let photos = Facts { init: Some(InitFacts { model, ..weights(None) }), ..facts(5000, 640) };
    let (config, choices) = plan(&["model.init=dinov2_vitb14_reg4.pth"], &photos);
    assert_eq!((config.model.name.as_str(), config.model.patch_size), ("vit_base", 14));
    assert_eq!((config.model.layer_scale, config.model.registers, config.model.mask_token), (1e-5, 4, true));
    assert_eq!((config.model.image_size, config.views.global.size, config.views.local.size), (518, 224, 112));
    let chosen = |key: &str| choices.iter().any(|choice| choice.key == key);
    assert!(chosen("model.layer_scale") && chosen("model.registers") && chosen("model.mask_token"));
    // What is as in any ViT of DINO needs no line.
    assert!(!chosen("model.ffn") && !chosen("model.resampling"));
    let small = Facts { median_size: Some((100, 120)), ..photos.clone() };
    let (config, _) = plan(&["model.init=dinov2_vitb14_reg4.pth"], &small);
    assert_eq!((config.model.image_size, config.views.global.size), (518, 98));
    let (config, _) = plan(&["model.init=x.pth", "model.image_size=224", "views.global.size=518"], &photos);
    assert_eq!((config.model.image_size, config.views.global.size), (224, 518));
}

#[test]
fn what_only_a_vit_has_is_refused_of_another_network() {
    for key in ["registers=4", "layer_scale=0.1", "ffn=swiglu", "mask_token=true", "resampling=antialiased"] {
        let mut given = Partial::default();
        for assignment in ["data.train=photos", "model.name=resnet18", &format!("model.{key}")] {
            given.set(assignment).unwrap();
        }
        let error = resolve(&given.on_recipe().unwrap(), &facts(5000, 640)).unwrap_err();
        assert!(matches!(&error, ConfigError::Conflict { .. }), "{key}: {error}");
    }
    for bad in ["registers=100000", "layer_scale=-1.0", "ffn=gelu", "resampling=nearest"] {
        let mut given = Partial::default();
        let wrong = given.set("data.train=photos").and_then(|()| given.set(&format!("model.{bad}")));
        let error = wrong.and_then(|()| resolve(&given.on_recipe()?, &facts(5000, 640)).map(|_| ())).unwrap_err();
        assert!(
            matches!(&error, ConfigError::BadValue { key, .. } if bad.starts_with(&key["model.".len()..])),
            "{error}"
        );
    }
}

#[test]
fn a_network_that_was_named_is_not_replaced_by_that_of_the_weights() {
    let photos = Facts { init: Some(weights(None)), ..facts(5000, 640) };
    let (config, _) = plan(&["model.init=dino.pth", "model.name=vit_tiny"], &photos);
    assert_eq!((config.model.name.as_str(), config.views.global.size), ("vit_tiny", 96));
}

#[test]
fn what_weights_expect_of_pixels_is_kept() {
    let (mean, std) = (vec![0.4914, 0.4822, 0.4465], vec![0.247, 0.2435, 0.2616]);
    let init = InitFacts { mean: mean.clone(), std: std.clone(), ..weights(None) };
    let pixels = PixelFacts { images: 48, usual: 3, channels: 3, range: vec![], mean: vec![0.5; 3], std: vec![0.5; 3] };
    let photos = Facts { init: Some(init), pixels: Some(pixels), ..facts(5000, 640) };
    let (config, choices) = plan(&["model.init=dino.pth"], &photos);
    assert_eq!((config.data.mean, config.data.std), (mean, std));
    let reason = |choice: &Choice| (choice.key == "data.mean").then(|| (choice.value.clone(), choice.reason.clone()));
    let (value, reason) = choices.iter().find_map(reason).unwrap();
    assert_eq!((value.as_str(), reason.as_str()), ("[0.4914, 0.4822, 0.4465]", "what the weights expect"));
    let measured = plan(&["model.init=dino.pth", "data.mean=measured"], &photos).0;
    assert_eq!(measured.data.mean, vec![0.5; 3]);
}

#[test]
fn auto_leaves_length_and_batch_to_the_program() {
    let open = ["run.batch=auto", "run.epochs=auto", "data.workers=auto", "eval.every_epochs=auto"];
    let with_words = plan(&open, &facts(5000, 64)).0;
    assert_eq!(with_words, plan(&[], &facts(5000, 64)).0);
    // Also over the value of a recipe.
    assert_ne!(plan(&["recipe=dino", "run.epochs=auto"], &facts(5000, 64)).0.run.epochs, 100);
}

#[test]
fn recipes_of_a_vit_serve_other_networks() {
    for (recipe, network) in [("dino", "resnet50"), ("cifar10-2cores", "resnet18"), ("dino", "xcit_small_12_p16")] {
        let sets = [format!("recipe={recipe}"), format!("model.name={network}"), "data.train=[\"photos\"]".to_owned()];
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let (config, _) = resolve(&given(&sets).on_recipe().unwrap(), &facts(5000, 300)).unwrap();
        assert_eq!((config.recipe.as_str(), config.model.name.as_str()), (recipe, network));
        assert_eq!(config.model.drop_path > 0.0, network.starts_with("xcit"), "{recipe}");
    }
}

#[test]
fn micro_batches_fit_into_the_free_memory() {
    let parts = |free_bytes| plan(&["run.batch=64"], &Facts { free_bytes, ..facts(5000, 400) }).0.run.micro_batch;
    assert_eq!([64 << 30, 1 << 30].map(parts), [64, 32]);
}
