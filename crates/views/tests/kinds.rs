//! Every kind of bad and odd file that was thought of: an image of the right size, or a reason. Never a panic, a hang or another picture.
#![expect(clippy::unwrap_used, reason = "a picture that cannot be written fails the test")]

use std::io::Cursor;
use std::path::Path;

use dinoxide_views::{Reading, Source};
use image::{DynamicImage, GrayImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage};

/// What a file should give: width and height, or words of the reason.
type Expected = Result<(u32, u32), &'static str>;

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn photo(format: ImageFormat) -> Vec<u8> {
    encoded(RgbImage::from_fn(40, 30, |x, y| Rgb([(x * 6) as u8, (y * 8) as u8, (x * y) as u8])), format)
}

fn gray(width: u32, height: u32) -> GrayImage {
    GrayImage::from_fn(width, height, |x, y| Luma([(x * 5 + y * 3) as u8]))
}

/// The bytes with some replaced from `at` on.
fn patched(mut bytes: Vec<u8>, at: usize, with: &[u8]) -> Vec<u8> {
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

/// Where the frame header of a JPEG begins.
fn frame(jpeg: &[u8]) -> usize {
    jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap()
}

fn jpegs() -> Vec<(&'static str, Vec<u8>, Expected)> {
    let jpeg = || photo(ImageFormat::Jpeg);
    let (at, len) = (frame(&jpeg()), jpeg().len());
    vec![
        ("plain.jpg", jpeg(), Ok((40, 30))),
        ("gray.jpg", encoded(gray(40, 30), ImageFormat::Jpeg), Ok((40, 30))),
        ("start only.jpg", jpeg()[..2].to_vec(), Err("not an image")),
        ("header only.jpg", jpeg()[..at].to_vec(), Err("truncated")),
        ("frame but no scan.jpg", jpeg()[..at + 19].to_vec(), Err("truncated")),
        ("half.jpg", jpeg()[..len / 2].to_vec(), Err("truncated")),
        ("all but the end.jpg", jpeg()[..len - 2].to_vec(), Err("truncated")),
        ("junk behind.jpg", [jpeg(), vec![0xAB; 500]].concat(), Ok((40, 30))),
        ("two in one.jpg", [jpeg(), jpeg()].concat(), Ok((40, 30))),
        ("no width.jpg", patched(jpeg(), at + 7, &[0, 0]), Err("JPEG")),
        ("no height.jpg", patched(jpeg(), at + 5, &[0, 0]), Err("JPEG")),
        ("largest.jpg", patched(jpeg(), at + 5, &[0xFF; 4]), Err("65535 x 65535")),
        ("wide as a bomb.jpg", patched(jpeg(), at + 5, &[0x09, 0xEF, 0xFF, 0xE7]), Err("truncated")),
        ("twelve bits.jpg", patched(jpeg(), at + 4, &[12]), Err("JPEG")),
        ("lossless.jpg", patched(jpeg(), at + 1, &[0xC3]), Err("JPEG")),
        ("arithmetic.jpg", patched(jpeg(), at + 1, &[0xC9]), Err("JPEG")),
        ("no components.jpg", patched(jpeg(), at + 9, &[0]), Err("JPEG")),
        ("zeros for tables.jpg", patched(jpeg(), 25, &[0; 100]), Err("")),
        ("a png.jpg", photo(ImageFormat::Png), Ok((40, 30))),
    ]
}

fn pngs() -> Vec<(&'static str, Vec<u8>, Expected)> {
    let png = || photo(ImageFormat::Png);
    let len = png().len();
    let deep: ImageBuffer<Luma<u16>, Vec<u16>> = ImageBuffer::from_pixel(5, 4, Luma([40_000]));
    vec![
        ("plain.png", png(), Ok((40, 30))),
        ("sixteen bits.png", encoded(deep, ImageFormat::Png), Ok((5, 4))),
        ("one pixel.png", encoded(gray(1, 1), ImageFormat::Png), Ok((1, 1))),
        ("one line.png", encoded(gray(12_000, 1), ImageFormat::Png), Ok((12_000, 1))),
        ("magic only.png", png()[..8].to_vec(), Err("truncated")),
        ("no pixels.png", png()[..33].to_vec(), Err("truncated")),
        ("half.png", png()[..len / 2].to_vec(), Err("truncated")),
        ("wrong checksum.png", patched(png(), 29, &[1, 2, 3, 4]), Err("PNG")),
        ("wrong pixels.png", patched(png(), len - 40, &[7; 8]), Err("PNG")),
        ("no width.png", patched(png(), 16, &[0; 4]), Err("PNG")),
        ("largest.png", patched(png(), 16, &[0x7F, 0xFF, 0xFF, 0xFF]), Err("PNG")),
        ("junk behind.png", [png(), vec![0xAB; 500]].concat(), Ok((40, 30))),
        ("a jpeg.png", photo(ImageFormat::Jpeg), Ok((40, 30))),
    ]
}

fn others() -> Vec<(&'static str, Vec<u8>, Expected)> {
    let half = |format| {
        let bytes = photo(format);
        bytes[..bytes.len() / 2].to_vec()
    };
    let tiff = photo(ImageFormat::Tiff);
    vec![
        ("plain.gif", photo(ImageFormat::Gif), Ok((40, 30))),
        ("half.gif", half(ImageFormat::Gif), Err("")),
        ("no frame.gif", b"GIF89a\x05\0\x04\0\0\0\0;".to_vec(), Err("GIF")),
        ("no size.gif", b"GIF89a\0\0\0\0\0\0\0;".to_vec(), Err("")),
        ("plain.bmp", photo(ImageFormat::Bmp), Ok((40, 30))),
        ("half.bmp", half(ImageFormat::Bmp), Err("truncated")),
        ("largest.bmp", patched(photo(ImageFormat::Bmp), 18, &[0xFF, 0xFF, 0xFF, 0x7F]), Err("")),
        ("plain.webp", photo(ImageFormat::WebP), Ok((40, 30))),
        ("half.webp", half(ImageFormat::WebP), Err("")),
        ("nothing inside.webp", b"RIFF\x04\0\0\0WEBP".to_vec(), Err("")),
        ("plain.tif", tiff.clone(), Ok((40, 30))),
        ("half.tif", half(ImageFormat::Tiff), Err("")),
        ("far directory.tif", patched(tiff.clone(), 4, &[0xFF, 0xFF, 0xFF, 0x7F]), Err("")),
        ("directory in itself.tif", patched(tiff, 4, &[0, 0, 0, 0]), Err("")),
        ("plain.ppm", photo(ImageFormat::Pnm), Ok((40, 30))),
        ("header only.ppm", b"P6\n40 30\n255\n".to_vec(), Err("truncated")),
        ("a bomb.ppm", b"P6\n60000 60000\n255\n".to_vec(), Err("60000 x 60000")),
        ("no maximum.ppm", b"P6\n4 3\n0\n123456789012345678901234567890123456".to_vec(), Err("PNM")),
        ("words.ppm", b"P6\nwide high\n255\n".to_vec(), Err("PNM")),
    ]
}

fn arrays() -> Vec<(&'static str, Vec<u8>, Expected)> {
    let array = |header: &str, bytes: usize| {
        let len = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\0", &len[..], header.as_bytes(), &vec![7; bytes][..]].concat()
    };
    let of = |kind: &str, shape: &str, bytes: usize| {
        array(&format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}\n"), bytes)
    };
    vec![
        ("plain.npy", of("|u1", "30, 40", 1200), Ok((40, 30))),
        ("color.npy", of("<u2", "30, 40, 3", 7200), Ok((40, 30))),
        ("planes.npy", of(">f4", "3, 30, 40", 14_400), Ok((40, 30))),
        ("magic only.npy", b"\x93NUMPY".to_vec(), Err("truncated")),
        ("header cut.npy", of("|u1", "30, 40", 0)[..40].to_vec(), Err("truncated")),
        ("values cut.npy", of("|u1", "30, 40", 1199), Err("truncated")),
        ("a bomb.npy", of("<f8", "13000, 13000", 100), Err("truncated")),
        ("larger than any.npy", of("|u1", "4000000000, 4", 100), Err("pixels")),
        ("seven channels.npy", of("|u1", "30, 40, 7", 8400), Err("7 values a pixel")),
        ("forty channels.npy", of("|u1", "50, 60, 40", 120_000), Err("at most 32 a pixel")),
        ("a row.npy", of("|u1", "1200,", 1200), Err("shape")),
        ("a film.npy", of("|u1", "2, 30, 40, 3", 7200), Err("shape")),
        ("no pixel.npy", of("|u1", "0, 40", 0), Err("")),
        (
            "by columns.npy",
            array("{'descr': '|u1', 'fortran_order': True, 'shape': (30, 40), }\n", 1200),
            Err("Fortran"),
        ),
        ("objects.npy", of("|O", "30, 40", 9600), Err("NPY")),
        ("complex.npy", of("<c8", "30, 40", 9600), Err("NPY")),
        ("records.npy", of("[('a', '<f4'), ('b', '|u1')]", "30, 40", 6000), Err("NPY")),
        ("no header.npy", array("Dear diary", 10), Err("NPY")),
    ]
}

fn no_images() -> Vec<(&'static str, Vec<u8>, Expected)> {
    let none: Expected = Err("not an image");
    vec![
        ("empty.jpg", vec![], none),
        ("one byte.jpg", vec![0xFF], none),
        ("zeros.png", vec![0; 4096], none),
        ("text.jpg", b"Dear diary, this is no picture.".to_vec(), none),
        ("page.jpg", b"<!doctype html><title>404</title>".to_vec(), none),
        ("drawing.png", b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>".to_vec(), none),
        ("document.jpg", b"%PDF-1.7\n".to_vec(), none),
        ("phone.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic".to_vec(), none),
        ("new.jpg", b"\0\0\0\x18ftypavif\0\0\0\0mif1avif".to_vec(), none),
        ("icon.png", b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x18\0".to_vec(), none),
        ("layers.png", b"8BPS\0\x01\0\0\0\0\0\0\0\x03".to_vec(), none),
        ("packed.jpg", b"PK\x03\x04\x14\0\0\0".to_vec(), none),
        ("squeezed.jpg", b"\x1F\x8B\x08\0\0\0\0\0".to_vec(), none),
    ]
}

fn check(folder: &Path, (name, bytes, expected): &(&str, Vec<u8>, Expected)) -> Option<String> {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    let source = Source::open(&[path.display().to_string()]).unwrap();
    let found = source.images[0].decode(&Reading::upright());
    let as_expected = match (&found, expected) {
        (Ok(image), Ok(size)) => (image.width, image.height) == *size,
        (Err(error), Err(words)) => error.to_string().contains(words) && !error.to_string().contains("decoder failed"),
        _ => false,
    };
    let found = found.map(|image| (image.width, image.height)).map_err(|error| error.to_string());
    (!as_expected).then(|| format!("{name}: {found:?} instead of {expected:?}"))
}

#[test]
fn every_kind_of_file_gives_an_image_or_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = [jpegs(), pngs(), others(), arrays(), no_images()].concat();
    assert!(kinds.len() >= 40, "{} kinds", kinds.len());
    let wrong: Vec<String> = kinds.iter().filter_map(|kind| check(folder.path(), kind)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_left_out_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("good.png"), photo(ImageFormat::Png)).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(at("pipe.jpg")).status().unwrap().success());
    std::os::unix::fs::symlink("/dev/zero", at("endless.jpg")).unwrap();
    std::os::unix::fs::symlink(at("gone"), at("dangling.jpg")).unwrap();
    std::fs::create_dir(at("folder.jpg")).unwrap();
    let source = Source::open(&[folder.path().display().to_string()]).unwrap();
    let names: Vec<&str> = source.images.iter().map(|image| &*image.name).collect();
    // A link that leads nowhere is reported as a file that cannot be read.
    assert_eq!(names, ["dangling.jpg", "good.png"]);
    assert!(source.images[0].decode(&Reading::default()).is_err());
}
