//! Prints how many images one thread turns into views per second, step by step.
//!
//! `cargo run --release -p dinoxide-views --example speed -- photo.jpg [global size, local size, local count]`
use std::time::Instant;

use dinoxide_views::random::Key;
use dinoxide_views::{Exif, ViewRecipe, decode_bytes, render_views};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("name an image")?;
    let sizes: Vec<u32> = arguments.map(|text| text.parse()).collect::<Result<_, _>>()?;
    let mut recipe = ViewRecipe::default();
    if let [global, local, count] = sizes[..] {
        (recipe.global.size, recipe.local.size, recipe.local.count) = (global, local, count);
    }
    let bytes = std::fs::read(path)?;
    let image = decode_bytes(&bytes, Exif::Ignore)?;
    println!("{} x {} pixels, {} views", image.width, image.height, recipe.views());
    report("decode", |_| decode_bytes(&bytes, Exif::Ignore).is_ok());
    let key = |epoch| Key { seed: 0, epoch, sample: 0 };
    report("views", |epoch| !render_views(&image, &recipe, &key(epoch)).is_empty());
    let plain = ViewRecipe { blur: [0.0; 3], solarize: [0.0; 3], gray: 0.0, ..recipe.clone() };
    let mut bare = plain.clone();
    bare.color_jitter.p = 0.0;
    report("  crop and resize only", |epoch| !render_views(&image, &bare, &key(epoch)).is_empty());
    report("  and color jitter", |epoch| !render_views(&image, &plain, &key(epoch)).is_empty());
    let mut blurred = bare.clone();
    blurred.blur = recipe.blur;
    report("  and blur", |epoch| !render_views(&image, &blurred, &key(epoch)).is_empty());
    report("decode and views", |epoch| {
        decode_bytes(&bytes, Exif::Ignore).is_ok_and(|image| !render_views(&image, &recipe, &key(epoch)).is_empty())
    });
    Ok(())
}

/// Runs for about a second and prints the rate.
fn report(name: &str, mut work: impl FnMut(u64) -> bool) {
    let start = Instant::now();
    let mut rounds = 0;
    while start.elapsed().as_secs_f64() < 1.0 {
        assert!(work(rounds), "{name} failed");
        rounds += 1;
    }
    let each = start.elapsed().as_secs_f64() / rounds as f64;
    println!("{name:24} {:9.1} images/s   {:7.3} ms", 1.0 / each, each * 1e3);
}
