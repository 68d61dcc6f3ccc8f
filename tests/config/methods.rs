//! The methods and their options.

use dinoxide::config::{Config, HeadConfig, MethodConfig, MethodName, Partial, resolve};

use super::{facts, file, given, plan};

#[test]
fn methods_with_masks_share_the_sections_of_dino() {
    for name in ["ibot", "dinov2"] {
        for images in [5000, 500_000] {
            let (config, _) = plan(&[&format!("method.name={name}")], &facts(images, 400));
            assert!(config.model.mask_token && config.method.mask_ratio.is_some(), "{name}");
            let (dino, _) = plan(&[], &facts(images, 400));
            assert_eq!((&config.head, &config.dino.teacher_temp), (&dino.head, &dino.dino.teacher_temp), "{name}");
            let (_folder, path) = file(&config.to_commented_toml().unwrap());
            assert_eq!(Config::from_file(&path).unwrap(), config, "{name}");
        }
    }
    let refused = |pairs: &[&str]| resolve(&given(pairs), &facts(5000, 400)).unwrap_err().to_string();
    for (option, words) in [
        ("dino.predictor=true", "`dino.predictor`"),
        ("dino.loss=mse", "`dino.loss`"),
        ("model.name=resnet50", "a ViT: the method iBOT masks patches"),
        ("model.mask_token=false", "this method trains it"),
        ("method.mask_ratio=[0.5, 0.1]", "two rising numbers"),
        ("method.mask_probability=1.5", "method.mask_probability"),
        ("method.koleo=-1", "method.koleo"),
        ("method.patch_out_dim=1", "0 for the head of class tokens"),
        ("method.temperature=0.1", "`method.temperature`"),
    ] {
        let error = refused(&["method.name=ibot", option]);
        assert!(error.contains(words), "{option}: {error}");
    }
    let error = refused(&["method.name=ibot", "views.global.size=8", "model.patch_size=8"]);
    assert!(error.contains("two patches"), "{error}");
}

/// The methods that share nothing with DINO but the backbone.
const OTHER_METHODS: [&str; 10] =
    ["byol", "simclr", "mocov2", "mocov3", "swav", "deepcluster_v2", "infomin", "obow", "barlow_twins", "supervised"];

#[test]
fn every_method_has_its_options_and_no_others() {
    for name in OTHER_METHODS {
        for images in [5000, 500_000] {
            let (config, _) = plan(&[&format!("method.name={name}")], &facts(images, 400));
            let (options, paper) = (config.method.clone(), config.method.name.paper());
            assert_eq!(options.out_dim.is_some(), paper.out_dim.is_some(), "{name}");
            assert_eq!(config.head, HeadConfig::default(), "{name}: DINO's head is not its own");
            let (_folder, path) = file(&config.to_commented_toml().unwrap());
            assert_eq!(Config::from_file(&path).unwrap(), config, "{name}");
            let again = Partial::from_file(&path).unwrap().on_recipe().unwrap();
            assert_eq!(resolve(&again, &facts(images, 400)).unwrap().0, config, "{name}");
        }
    }
    let refused = |pairs: &[&str]| resolve(&given(pairs), &facts(5000, 400)).unwrap_err().to_string();
    let error = refused(&["method.name=simclr", "dino.center_momentum=0.5"]);
    assert!(error.contains("`dino.center_momentum`") && error.contains("simclr"), "{error}");
    let error = refused(&["method.temperature=0.2"]);
    assert!(error.contains("`method.temperature`") && error.contains("dino"), "{error}");
    let error = refused(&["method.name=mocov2", "views.local.count=4"]);
    assert!(error.contains("two global crops"), "{error}");
    let unknown = Partial::default().set("method.name=byool").unwrap_err().to_string();
    assert!(unknown.contains("byol"), "{unknown}");
    assert!(refused(&["method.name=mocov2", "method.queue=0"]).contains("at least 1"));
}

#[test]
fn recipes_of_methods_have_the_papers_options_on_any_data() {
    for name in OTHER_METHODS {
        let (config, _) = plan(&[&format!("recipe={name}"), "run.epochs=100"], &facts(10_000, 224));
        let paper = MethodConfig {
            freeze_prototypes_steps: config.method.freeze_prototypes_steps,
            images: config.method.images,
            ..config.method.name.paper()
        };
        assert_eq!(config.method, paper);
    }
}

#[test]
fn a_recipe_of_another_method_gives_what_both_have() {
    for name in ["dino", "byol", "swav"] {
        let (config, _) =
            plan(&[&format!("recipe={name}"), "method.name=simclr", "run.epochs=20"], &facts(10_000, 224));
        assert_eq!(config.views.local.count, 0, "{name}: SimCLR compares two crops");
        assert_eq!(config.method, MethodName::Simclr.small(), "{name}");
        let sets = [&format!("recipe={name}"), "method.name=supervised", "run.epochs=20"];
        let (config, _) = plan(&sets, &facts(10_000, 224));
        assert_eq!(config.views.local.count, 0, "{name}: a classifier sees whole images");
    }
}

#[test]
fn clusters_and_jigsaws_fit_the_images() {
    let refused = |pairs: &[&str]| resolve(&given(pairs), &facts(1000, 32)).unwrap_err().to_string();
    for (set, words) in [
        ("method.prototypes=1001", "at most the images, 1000"),
        ("method.heads=0", "1 to 64"),
        ("method.heads=65", "1 to 64"),
        ("run.epochs=1", "the first epoch fills the memory"),
    ] {
        let error = refused(&["method.name=deepcluster_v2", set]);
        assert!(error.contains(words), "{set}: {error}");
    }
    let (config, _) = plan(&["method.name=deepcluster_v2", "method.images=7"], &facts(200, 32));
    let method = config.method;
    assert_eq!((method.images, method.prototypes), (Some(200), Some(25)), "all images, and eight for each cluster");
    let error = refused(&["method.name=infomin", "method.jigsaw=1.5"]);
    assert!(error.contains("0 to 1"), "{error}");
    let error = refused(&["method.name=infomin", "model.patch_size=16", "model.image_size=32"]);
    assert!(error.contains("views.global.size") && error.contains("at least 64"), "{error}");
    for (images, operations) in [(1000, ""), (500_000, "rand-m10-mstd0.5-inc1")] {
        let (config, _) = plan(&["method.name=infomin"], &facts(images, 400));
        assert_eq!(config.views.rand_augment.to_string(), operations, "{images} images");
    }
}

#[test]
fn options_of_another_method_are_refused_as_such() {
    for (set, words) in [
        ("method.queue=8", "another method has it"),
        ("dino.student_temp=0.2", "another method has it"),
        ("run.batch=1", "at least 2"),
        ("views.local.count=2", "two global crops"),
        ("views.cutmix=1.0", "only the method supervised"),
        ("method.jigsaw=0.5", "another method has it"),
    ] {
        let error = resolve(&given(&["method.name=simclr", set]).on_recipe().unwrap(), &facts(1000, 32)).unwrap_err();
        assert!(error.to_string().contains(words), "{set}: {error}");
    }
    let unknown = Partial::default().set("views.rand_augment=rand-m9").unwrap_err().to_string();
    assert!(unknown.contains("`views.rand_augment`") && unknown.contains("`inc1` is missing"), "{unknown}");
    let sets = ["method.name=simclr", "run.batch=9", "run.micro_batch=4"];
    let error = resolve(&given(&sets).on_recipe().unwrap(), &facts(1000, 32)).unwrap_err();
    assert!(error.to_string().contains("by itself"), "{error}");
}

#[test]
fn prototypes_and_queue_of_swav_fit_a_short_run() {
    let (config, _) = plan(&["recipe=swav", "method.queue=64", "run.epochs=10", "run.batch=32"], &facts(320, 224));
    assert_eq!(config.method.queue_from_epoch, Some(1));
    assert_eq!(config.method.freeze_prototypes_steps, Some(5));
}

#[test]
fn a_recipe_may_be_another_one_with_something_changed() {
    let (row, base) = ("recipe=dino-mse", "recipe=dino-vits16-300");
    let [(row, _), (base, _)] = [row, base].map(|recipe| plan(&[recipe], &facts(50_000, 400)));
    assert_eq!(row.differences(&base).unwrap().len(), 2, "its name and the loss");
    assert_eq!((base.run.epochs, base.head.out_dim), (300, 65_536));
}
