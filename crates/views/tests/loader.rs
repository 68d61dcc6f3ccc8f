//! The loaders: same batches whatever the threads, any start, bad files, small folders, quick ends.
#![expect(clippy::unwrap_used, reason = "a file that cannot be written fails the test")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dinoxide_views::random::Key;
use dinoxide_views::sampler::{Sampler, epoch_permutation, steps_per_epoch, weighted_epoch};
use dinoxide_views::{
    Batch, Error, EvalConfig, EvalLoader, EvalTransform, Loader, LoaderConfig, Reading, Source, ViewRecipe,
    render_views,
};
use image::{Rgb, RgbImage};
use tempfile::TempDir;

fn write_images(folder: &Path, count: u8) {
    for number in 0..count {
        let image = RgbImage::from_fn(20, 16, |x, y| Rgb([x as u8 * 12, y as u8 * 15, number * 9]));
        image.save(folder.join(format!("{number:02}.png"))).unwrap();
    }
}

fn folder(images: u8) -> (TempDir, Arc<Source>) {
    let folder = tempfile::tempdir().unwrap();
    write_images(folder.path(), images);
    let source = Source::open(&[folder.path().display().to_string()]).unwrap();
    (folder, Arc::new(source))
}

fn small_views() -> ViewRecipe {
    let mut recipe = ViewRecipe::default();
    (recipe.global.size, recipe.local.size, recipe.local.count) = (12, 6, 3);
    recipe
}

fn batches(source: &Arc<Source>, config: LoaderConfig, count: usize) -> Vec<Batch> {
    let mut loader = Loader::new(Arc::clone(source), small_views(), config).unwrap();
    let still = |mut batch: Batch| {
        batch.wait = Duration::ZERO;
        batch
    };
    (0..count).map(|_| still(loader.next_batch().unwrap())).collect()
}

#[test]
fn batches_do_not_depend_on_workers_prefetch_or_cache() {
    let (_folder, source) = folder(11);
    let config = LoaderConfig::new(source.len(), 4);
    let one = batches(&source, config.clone(), 6);
    let many = LoaderConfig { workers: 5, prefetch: 4, cache_bytes: 5_000, ..config };
    assert_eq!(one, batches(&source, many, 6));
}

#[test]
fn a_loader_can_start_at_any_step() {
    let (_folder, source) = folder(11);
    let config = LoaderConfig { workers: 2, ..LoaderConfig::new(source.len(), 4) };
    let all = batches(&source, config.clone(), 7);
    let late = batches(&source, LoaderConfig { start_step: 3, ..config }, 4);
    assert_eq!(all[3..], late);
    assert_eq!(late[0].step, 3);
}

#[test]
fn a_batch_is_crop_major_and_equals_its_rendered_views() {
    let (_folder, source) = folder(6);
    let batch = batches(&source, LoaderConfig::new(source.len(), 3), 1).remove(0);
    let sample = batch.samples[2];
    let image = source.images[sample as usize].decode(&Reading::default()).unwrap();
    let views = render_views(&image, &small_views(), &Key { seed: 0, epoch: 0, sample: u64::from(sample) });
    let (global, local) = (&batch.groups[0], &batch.groups[1]);
    assert_eq!((global.size, global.views, local.size, local.views), (12, 2, 6, 3));
    // [views, batch, size, size, 3]: view 1 of image 2 of 3.
    assert_eq!(global.pixels[(3 + 2) * 12 * 12 * 3..], views[1].pixels);
    assert_eq!(local.pixels[(2 * 3 + 2) * 6 * 6 * 3..], views[4].pixels);
}

#[test]
fn an_epoch_shows_each_image_once() {
    let (_folder, source) = folder(12);
    let mut seen: Vec<u32> =
        batches(&source, LoaderConfig::new(12, 4), 3).iter().flat_map(|batch| batch.samples.clone()).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..12).collect::<Vec<_>>());
}

#[test]
fn a_folder_smaller_than_a_batch_trains_with_different_views_of_its_images() {
    let (_folder, source) = folder(3);
    let batch = batches(&source, LoaderConfig::new(3, 8), 1).remove(0);
    assert_eq!(batch.samples.len(), 8);
    assert_eq!(batch.samples[0], batch.samples[3]);
    let view = 12 * 12 * 3;
    assert_ne!(batch.groups[0].pixels[..view], batch.groups[0].pixels[3 * view..4 * view]);
}

#[test]
fn ranks_share_an_epoch_as_one_process_would_use_it() {
    let samples = |rank, world, batch| -> Vec<u32> {
        let steps_per_epoch = steps_per_epoch(24, batch, world);
        let sampler = Sampler { images: 24, batch, rank, world, steps_per_epoch };
        let order = epoch_permutation(7, 1, 24);
        (0..batch).map(|slot| order[sampler.place(steps_per_epoch + 1, slot).position as usize]).collect()
    };
    let mut split = [samples(0, 2, 4), samples(1, 2, 4)].concat();
    let mut whole = samples(0, 1, 8);
    split.sort_unstable();
    whole.sort_unstable();
    assert_eq!(split, whole);
    assert_eq!(steps_per_epoch(25, 4, 2), 3);
    assert_eq!(steps_per_epoch(3, 4, 2), 1);
}

#[test]
fn bad_files_are_replaced_alike_by_any_number_of_workers_and_listed_once() {
    let (folder, _) = folder(10);
    std::fs::write(folder.path().join("04.png"), b"broken").unwrap();
    let source = Arc::new(Source::open(&[folder.path().display().to_string()]).unwrap());
    let config = LoaderConfig { max_bad: 0.1, ..LoaderConfig::new(10, 5) };
    let one = batches(&source, config.clone(), 6);
    assert_eq!(one, batches(&source, LoaderConfig { workers: 4, ..config.clone() }, 6));
    assert!(one.iter().all(|batch| !batch.samples.contains(&4)));
    let mut loader = Loader::new(source, small_views(), config).unwrap();
    (0..6).for_each(|_| drop(loader.next_batch().unwrap()));
    assert_eq!(loader.skipped().len(), 1);
    assert!(loader.skipped()[0].reason.contains("not an image"), "{:?}", loader.skipped());
}

#[test]
fn more_bad_files_than_allowed_stop_with_counts_and_paths() {
    let (folder, _) = folder(10);
    std::fs::write(folder.path().join("04.png"), b"broken").unwrap();
    let source = Arc::new(Source::open(&[folder.path().display().to_string()]).unwrap());
    let config = LoaderConfig { max_bad: 0.09, ..LoaderConfig::new(10, 10) };
    let mut loader = Loader::new(source, small_views(), config).unwrap();
    let message = loader.next_batch().unwrap_err().to_string();
    assert!(message.contains("1 of 10 images") && message.contains("04.png"), "{message}");
    assert!(matches!(loader.next_batch(), Err(Error::Stopped)));
}

#[test]
fn a_folder_without_one_readable_image_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    (0..3).for_each(|number| std::fs::write(folder.path().join(format!("{number}.jpg")), b"x").unwrap());
    let source = Arc::new(Source::open(&[folder.path().display().to_string()]).unwrap());
    let config = LoaderConfig { max_bad: 1.0, ..LoaderConfig::new(3, 2) };
    let failed = Loader::new(source, small_views(), config).unwrap().next_batch();
    assert!(matches!(failed, Err(Error::NothingReadable { .. })), "{failed:?}");
}

#[test]
fn dropping_a_loader_ends_it_before_during_and_after_a_batch() {
    let (_folder, source) = folder(10);
    let start = || {
        let config = LoaderConfig { workers: 3, prefetch: 2, ..LoaderConfig::new(10, 5) };
        Loader::new(Arc::clone(&source), small_views(), config).unwrap()
    };
    drop(start());
    let mut used = start();
    used.next_batch().unwrap();
    drop(used);
}

#[test]
fn evaluation_is_in_order_without_the_unreadable() {
    let (folder, _) = folder(7);
    std::fs::write(folder.path().join("02.png"), b"broken").unwrap();
    let source = Arc::new(Source::open(&[folder.path().display().to_string()]).unwrap());
    let config = EvalConfig { batch: 4, workers: 3, reading: Reading::default() };
    let mut loader = EvalLoader::new(source, "10x8".parse().unwrap(), config).unwrap();
    let batches: Vec<_> = loader.by_ref().map(|batch| batch.unwrap()).collect();
    assert_eq!(batches.iter().map(|batch| batch.samples.clone()).collect::<Vec<_>>(), [vec![0, 1, 3, 4], vec![5, 6]]);
    assert_eq!((batches[0].width, batches[0].height, batches[0].pixels.len()), (10, 8, 4 * 10 * 8 * 3));
    assert_eq!(batches[1].names, ["05.png", "06.png"]);
    assert_eq!(loader.skipped().len(), 1);
}

#[test]
fn image_sizes_are_read_as_people_write_them() {
    assert_eq!("224".parse::<EvalTransform>().unwrap(), EvalTransform::Exact { width: 224, height: 224 });
    assert_eq!("480x320".parse::<EvalTransform>().unwrap(), EvalTransform::Exact { width: 480, height: 320 });
    let message = "480by320".parse::<EvalTransform>().unwrap_err().to_string();
    assert!(message.contains("480by320") && message.contains("480x320"), "{message}");
}

#[test]
fn impossible_settings_are_named() {
    let (_folder, source) = folder(2);
    let refuse = |config: LoaderConfig, recipe: ViewRecipe| {
        Loader::new(Arc::clone(&source), recipe, config).err().unwrap().to_string()
    };
    let good = LoaderConfig::new(2, 2);
    assert!(refuse(LoaderConfig { batch: 0, ..good.clone() }, small_views()).contains("`batch`"));
    assert!(refuse(LoaderConfig { rank: 1, ..good.clone() }, small_views()).contains("`rank`"));
    assert!(refuse(good, ViewRecipe { flip: 1.5, ..small_views() }).contains("`views.flip`"));
}

#[test]
fn inputs_have_their_shares_of_an_epoch() {
    // 1, 6 and 3 of ten images.
    let (inputs, weights) = ([5, 2, 3], [0.5, 3.0, 1.5]);
    let mut seen = BTreeSet::new();
    for epoch in 0..40 {
        let draws = weighted_epoch(7, epoch, &inputs, &weights);
        let of = |from: u32, to: u32| draws.iter().filter(|draw| (from..to).contains(&draw.sample)).count();
        assert_eq!((draws.len(), of(0, 5), of(5, 7), of(7, 10)), (10, 1, 6, 3));
        // Two images, three times each.
        let twice: BTreeSet<(u32, u32)> = draws
            .iter()
            .filter(|draw| (5..7).contains(&draw.sample))
            .map(|draw| (draw.sample, draw.repetition))
            .collect();
        assert_eq!(twice, BTreeSet::from([(5, 0), (5, 1), (5, 2), (6, 0), (6, 1), (6, 2)]));
        seen.extend(draws.iter().map(|draw| draw.sample));
        assert_eq!(draws, weighted_epoch(7, epoch, &inputs, &weights));
        assert_ne!(draws, weighted_epoch(7, epoch + 1, &inputs, &weights));
    }
    assert_eq!(seen.len(), 10, "every image has its turn");
}

#[test]
fn weighted_batches_do_not_depend_on_workers_and_repeat_no_view() {
    let folder = tempfile::tempdir().unwrap();
    let inputs: Vec<String> = [("few", 2), ("many", 6)]
        .map(|(name, count)| {
            let place = folder.path().join(name);
            std::fs::create_dir(&place).unwrap();
            write_images(&place, count);
            place.display().to_string()
        })
        .into();
    let source = Arc::new(Source::open(&inputs).unwrap());
    let epoch = |workers: usize, start_step: u64| {
        let config =
            LoaderConfig { workers, start_step, weights: vec![3.0, 1.0], ..LoaderConfig::new(source.len(), 4) };
        batches(&source, config, 2 - start_step as usize)
    };
    let first = epoch(1, 0);
    assert_eq!(first, epoch(3, 0));
    assert_eq!(first[1..], epoch(2, 1));
    let samples: Vec<u32> = first.iter().flat_map(|batch| batch.samples.clone()).collect();
    assert_eq!(samples.iter().filter(|&&sample| sample < 2).count(), 6, "{samples:?}");
    let views: Vec<&[u8]> = first.iter().flat_map(|batch| batch.groups[0].pixels.chunks_exact(12 * 12 * 3)).collect();
    let different: BTreeSet<&&[u8]> = views.iter().collect();
    assert_eq!(different.len(), views.len(), "an image that is used again is seen otherwise");
    for (weights, problem) in [
        (vec![1.0], "1 numbers for 2 inputs"),
        (vec![0.0, 0.0], "not all 0"),
        (vec![-1.0, 2.0], "at least 0"),
        (vec![f64::NAN, 1.0], "at least 0"),
    ] {
        let config = LoaderConfig { weights, ..LoaderConfig::new(source.len(), 4) };
        let error = Loader::new(Arc::clone(&source), ViewRecipe::default(), config).err().unwrap().to_string();
        assert!(error.contains(problem) && error.contains("data.weights"), "{error}");
    }
}
