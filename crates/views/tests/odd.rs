//! Files as people have them: broken, tiny, huge, misnamed.
#![expect(clippy::unwrap_used, reason = "a picture that cannot be written fails the test")]

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dinoxide_views::random::Key;
use dinoxide_views::{
    DecodeError, EvalTransform, Image, Loader, LoaderConfig, Reading, Source, ViewRecipe, decode_bytes, decode_file,
    render_views,
};
use image::{DynamicImage, GrayImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage};
use proptest::prelude::*;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../parity/fixtures/views/odd").join(name)
}

fn textured(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 7) as u8, (y * 11) as u8, (x * y) as u8]))
}

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for format in [
        ImageFormat::Jpeg,
        ImageFormat::Png,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Pnm,
    ] {
        let bytes = encoded(textured(64, 48), format);
        assert!(decode_bytes(&bytes, &Reading::default()).is_ok(), "{format:?}");
        for tenths in [1, 3, 5, 7, 9] {
            let cut = &bytes[..bytes.len() * tenths / 10];
            assert!(decode_bytes(cut, &Reading::default()).is_err(), "{format:?} cut to {tenths} tenths");
        }
    }
}

#[test]
fn a_jpeg_cut_in_its_last_bytes_is_truncated() {
    let bytes = encoded(textured(64, 48), ImageFormat::Jpeg);
    let cut = decode_bytes(&bytes[..bytes.len() - 20], &Reading::default());
    assert_eq!(cut, Err(DecodeError::Truncated));
}

#[test]
fn text_named_jpg_is_not_an_image() {
    assert_eq!(decode_bytes(b"Dear diary, this is no picture.", &Reading::default()), Err(DecodeError::NotAnImage));
}

#[test]
fn the_content_decides_the_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("really_a_png.jpg");
    std::fs::write(&path, encoded(textured(5, 4), ImageFormat::Png)).unwrap();
    assert_eq!(decode_file(&path, &Reading::default()).unwrap().pixels, textured(5, 4).into_raw());
}

#[test]
fn sixteen_bit_samples_keep_their_high_byte() {
    let deep: ImageBuffer<Rgb<u16>, Vec<u16>> = ImageBuffer::from_pixel(3, 2, Rgb([0x12FF, 0xFF00, 0x00FF]));
    let decoded = decode_bytes(&encoded(deep, ImageFormat::Png), &Reading::default()).unwrap();
    assert_eq!(decoded.pixels, [0x12, 0xFF, 0x00].repeat(6));
    let gray: ImageBuffer<Luma<u16>, Vec<u16>> = ImageBuffer::from_pixel(1, 1, Luma([0xABCD]));
    assert_eq!(decode_bytes(&encoded(gray, ImageFormat::Png), &Reading::default()).unwrap().pixels, [0xAB; 3]);
    assert!(decode_file(&fixture("gray16.png"), &Reading::default()).is_ok());
}

#[test]
fn a_pixel_gives_all_its_views() {
    let pixel = Image::filled(1, 1, [10, 200, 30]);
    let recipe = ViewRecipe::default();
    let views = render_views(&pixel, &recipe, &Key { seed: 0, epoch: 0, sample: 0 });
    assert_eq!(views.len(), 10);
    assert_eq!(EvalTransform::default().apply(&pixel).pixels, [10, 200, 30].repeat(224 * 224));
}

#[test]
fn a_panorama_gives_views_and_a_central_square() {
    let wide = GrayImage::from_fn(12_000, 90, |x, _| Luma([(x / 50) as u8]));
    let image = decode_bytes(&encoded(wide, ImageFormat::Jpeg), &Reading::default()).unwrap();
    assert_eq!((image.width, image.height), (12_000, 90));
    let mut recipe = ViewRecipe::default();
    recipe.global.size = 32;
    recipe.local.size = 16;
    assert_eq!(render_views(&image, &recipe, &Key { seed: 0, epoch: 0, sample: 0 }).len(), 10);
    assert_eq!(EvalTransform::default().apply(&image).width, 224);
    let flat = Image::filled(12_000, 1, [1, 2, 3]);
    assert_eq!(EvalTransform::default().apply(&flat).pixels, [1, 2, 3].repeat(224 * 224));
    assert_eq!(render_views(&flat, &recipe, &Key { seed: 0, epoch: 0, sample: 0 }).len(), 10);
}

#[test]
fn orientation_is_applied_on_request_only() {
    let stored = decode_file(&fixture("exif6.jpg"), &Reading::default()).unwrap();
    let shown = decode_file(&fixture("exif6.jpg"), &Reading::upright()).unwrap();
    assert_eq!((stored.width, stored.height), (24, 17));
    assert_eq!((shown.width, shown.height), (17, 24));
    // Orientation 6 turns clockwise: the stored bottom left corner comes to the top left.
    assert_eq!(shown.pixels[..3], stored.row(16)[..3]);
}

#[test]
fn a_header_that_claims_too_many_pixels_is_refused() {
    let bomb = b"P6\n60000 60000\n255\n";
    let refused = decode_bytes(bomb, &Reading::default());
    assert!(matches!(refused, Err(DecodeError::PixelCount { width: 60_000, .. })), "{refused:?}");
}

/// Found by fuzzing: five seconds and half a gigabyte for 611 bytes.
#[test]
fn a_jpeg_with_less_than_a_bit_for_each_block_is_truncated() {
    let mut bytes = encoded(textured(64, 48), ImageFormat::Jpeg);
    let frame = bytes.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    bytes[frame + 5..frame + 9].copy_from_slice(&[0x09, 0xEF, 0xFF, 0xE7]);
    assert_eq!(decode_bytes(&bytes, &Reading::default()), Err(DecodeError::Truncated));
    // Next to nothing to see takes several bits a block.
    let white = encoded(RgbImage::from_pixel(2000, 1500, Rgb([255; 3])), ImageFormat::Jpeg);
    assert!(decode_bytes(&white, &Reading::default()).is_ok(), "{} bytes", white.len());
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(folder.join(name), bytes).unwrap();
}

#[test]
fn a_folder_of_odd_files_trains_and_names_the_two_bad_ones() {
    let folder = tempfile::tempdir().unwrap();
    let jpeg = encoded(textured(64, 48), ImageFormat::Jpeg);
    write(folder.path(), "truncated.jpg", &jpeg[..jpeg.len() / 2]);
    write(folder.path(), "text.jpg", b"no picture");
    write(folder.path(), "pixel.png", &encoded(textured(1, 1), ImageFormat::Png));
    write(folder.path(), "wide.png", &encoded(textured(12_000, 10), ImageFormat::Png));
    for name in ["gray16.png", "cmyk.jpg", "palette_alpha.png"] {
        std::fs::copy(fixture(name), folder.path().join(name)).unwrap();
    }
    let source = Arc::new(Source::open(&[folder.path().display().to_string()]).unwrap());
    let mut recipe = ViewRecipe::default();
    (recipe.global.size, recipe.local.size) = (16, 8);
    let config = LoaderConfig { max_bad: 0.3, workers: 2, ..LoaderConfig::new(source.len(), 7) };
    let mut loader = Loader::new(source, recipe, config).unwrap();
    let batch = loader.next_batch().unwrap();
    assert_eq!(batch.samples.len(), 7);
    let mut names: Vec<_> = loader.skipped().iter().map(|skipped| skipped.path.file_name().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["text.jpg", "truncated.jpg"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0usize..8) {
        let magic: [&[u8]; 8] = [
            b"", b"\xFF\xD8\xFF\xE0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"RIFF\x40\0\0\0WEBPVP8 ", b"P6\n",
        ];
        let bytes = [magic[kind], &bytes[..]].concat();
        prop_assert!(!matches!(decode_bytes(&bytes, &Reading::upright()), Err(DecodeError::Panicked(_))));
    }

    #[test]
    fn a_flipped_byte_never_panics(at in 0usize..10_000, value in any::<u8>(), png in any::<bool>()) {
        let format = if png { ImageFormat::Png } else { ImageFormat::Jpeg };
        let mut bytes = encoded(textured(40, 30), format);
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(image) = decode_bytes(&bytes, &Reading::upright()) {
            prop_assert_eq!(image.pixels.len(), image.width as usize * image.height as usize * 3);
        }
    }
}
