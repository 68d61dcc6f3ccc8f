//! Labels of batches: with their images, mixed with them, kept in the list of a source.
#![expect(clippy::unwrap_used, reason = "a file that cannot be written fails the test")]

use std::path::Path;
use std::sync::Arc;

use dinoxide_views::{Batch, Label, Loader, LoaderConfig, Source, ViewRecipe};
use image::{Rgb, RgbImage};
use tempfile::TempDir;

/// Images of one gray level each, a level of its own for every class.
fn labelled() -> (TempDir, Source) {
    let folder = tempfile::tempdir().unwrap();
    for (class, level) in [("a", 40), ("b", 120), ("c", 200)] {
        std::fs::create_dir(folder.path().join(class)).unwrap();
        for number in 0..3 {
            let image = RgbImage::from_pixel(16, 16, Rgb([level; 3]));
            image.save(folder.path().join(class).join(format!("{number}.png"))).unwrap();
        }
    }
    let source = Source::labelled(folder.path()).unwrap();
    (folder, source)
}

fn plain() -> ViewRecipe {
    let mut recipe = ViewRecipe { gray: 0.0, blur: [0.0; 3], solarize: [0.0; 3], ..ViewRecipe::default() };
    (recipe.global.size, recipe.global.count, recipe.local.count) = (8, 2, 0);
    recipe.color_jitter.p = 0.0;
    recipe
}

fn batch(source: Source, recipe: ViewRecipe, config: LoaderConfig) -> Batch {
    Loader::new(Arc::new(source), recipe, config).unwrap().next_batch().unwrap()
}

/// The level that a view of this label has where everything is blended.
fn level(label: &Label) -> f64 {
    let of = |class: u32| f64::from([40_u8, 120, 200][class as usize]);
    label.share * of(label.class) + (1.0 - label.share) * of(label.other)
}

#[test]
fn every_view_has_the_label_of_its_image() {
    let (_folder, source) = labelled();
    let batch = batch(source, plain(), LoaderConfig::new(9, 6));
    assert_eq!(batch.labels.len(), 12, "two views of six images");
    for (view, label) in batch.groups[0].pixels.chunks_exact(8 * 8 * 3).zip(&batch.labels) {
        assert_eq!(*label, Label::one(label.class));
        assert!(view.iter().all(|value| f64::from(*value) == level(label)), "{label:?}: {}", view[0]);
    }
}

#[test]
fn mixed_views_have_mixed_labels_that_do_not_depend_on_workers() {
    let (_folder, source) = labelled();
    let recipe = ViewRecipe { mixup: 1.0, ..plain() };
    let one = batch(source.clone(), recipe.clone(), LoaderConfig::new(9, 6));
    for (view, label) in one.groups[0].pixels.chunks_exact(8 * 8 * 3).zip(&one.labels) {
        assert!(label.share < 1.0);
        assert!(view.iter().all(|value| (f64::from(*value) - level(label)).abs() <= 0.5), "{label:?}: {}", view[0]);
    }
    let many = batch(source.clone(), recipe.clone(), LoaderConfig { workers: 4, ..LoaderConfig::new(9, 6) });
    assert_eq!((&one.labels, &one.groups), (&many.labels, &many.groups));
    let later = LoaderConfig { start_step: 1, ..LoaderConfig::new(9, 6) };
    assert_ne!(batch(source, recipe, later).labels[0].share, one.labels[0].share, "each step draws anew");
}

#[test]
fn a_source_without_labels_is_not_mixed() {
    let (folder, _) = labelled();
    let source = Source::open(&[folder.path().display().to_string()]).unwrap();
    let mixed = batch(source.clone(), ViewRecipe { mixup: 1.0, ..plain() }, LoaderConfig::new(9, 6));
    assert!(mixed.labels.is_empty());
    assert_eq!(mixed.groups, batch(source, plain(), LoaderConfig::new(9, 6)).groups);
}

#[test]
fn the_list_of_a_source_keeps_its_classes() {
    let (folder, mut source) = labelled();
    std::fs::create_dir(folder.path().join("aa")).unwrap();
    let with_empty = Source::labelled(folder.path()).unwrap();
    assert_eq!(with_empty.classes, ["a", "aa", "b", "c"]);
    let mut without = with_empty;
    without.drop_empty_classes();
    assert_eq!(without, source);

    let read_back = |source: &Source, name: &str| {
        let path = Path::new(folder.path()).join(name);
        source.write_manifest(&mut std::fs::File::create(&path).unwrap()).unwrap();
        Source::read_manifest(&path, 1).unwrap()
    };
    assert_eq!(read_back(&source, "labelled.csv.gz"), source);
    source.images.iter_mut().for_each(|image| image.label = None);
    source.classes.clear();
    assert_eq!(read_back(&source, "plain.csv.gz"), source);
}
