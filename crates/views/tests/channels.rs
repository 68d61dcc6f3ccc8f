//! Images that are not 8-bit RGB, against NumPy, Pillow and timm's files: `parity/generate/channels.py`.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

use std::path::PathBuf;

use dinoxide_views::draw::{ColorOp, DrawnView, Jitter};
use dinoxide_views::rand_augment::Operations;
use dinoxide_views::resample::Filter;
use dinoxide_views::{Crop, DecodeError, Image, Reading, decode_bytes, decode_file, render};
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../parity/fixtures/channels").join(name)
}

fn cases() -> Value {
    serde_json::from_slice(&std::fs::read(fixture("cases.json")).unwrap()).unwrap()
}

fn whole(value: &Value) -> u32 {
    value.as_u64().unwrap() as u32
}

/// Bytes of base64 text, as Python writes it.
fn bytes(text: &Value) -> Vec<u8> {
    let digits = text.as_str().unwrap().bytes().take_while(|&letter| letter != b'=').map(|letter| match letter {
        b'A'..=b'Z' => u32::from(letter - b'A'),
        b'a'..=b'z' => u32::from(letter - b'a') + 26,
        b'0'..=b'9' => u32::from(letter - b'0') + 52,
        b'+' => 62,
        _ => 63,
    });
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for digit in digits {
        (bits, count) = (bits << 6 | digit, count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

#[test]
fn every_kind_of_file_gives_the_bytes_of_numpy_and_pillow() {
    let all = cases();
    let scans = all["dicom"].as_array().unwrap().iter();
    for case in all["cases"].as_array().unwrap().iter().chain(scans.filter(|_| cfg!(feature = "dicom"))) {
        let range = serde_json::from_value(case["range"].clone()).unwrap();
        let reading = Reading { channels: whole(&case["channels"]) as usize, range, ..Reading::default() };
        let name = case["file"].as_str().unwrap();
        let image = decode_file(&fixture(name), &reading).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((image.width, image.height), (whole(&all["width"]), whole(&all["height"])), "{name}");
        assert_eq!(image.pixels, bytes(&case["bytes"]), "{name} {reading:?}");
    }
}

/// Values and types that every byte of a fixture may take: nothing panics, and what is read has the form that was asked for.
#[test]
fn a_changed_byte_gives_an_error_or_an_image_of_the_form_that_is_read() {
    let names = ["u2-each.npy", "f4-odd.npy", "u2-planes.tif", "u1-pages.tif", "f4-gray.tif"];
    for (name, channels) in names.into_iter().zip([13, 4, 4, 5, 1]) {
        let whole = std::fs::read(fixture(name)).unwrap();
        let reading = Reading { channels, ..Reading::default() };
        for at in 0..whole.len() {
            for value in [0, 1, 0x7F, 0xFF] {
                let mut changed = whole.clone();
                changed[at] = value;
                match decode_bytes(&changed, &reading) {
                    Ok(image) => {
                        assert_eq!(image.channels, channels);
                        assert_eq!(image.pixels.len(), image.width as usize * image.height as usize * channels);
                    }
                    Err(error) => assert!(!matches!(error, DecodeError::Panicked(_)), "{name} {at} {value}: {error}"),
                }
            }
            // TIFF files end in a few bytes that nobody reads.
            let cut = decode_bytes(&whole[..at], &reading);
            assert!(cut.is_err() || at > whole.len() - 32, "{name} cut at {at}");
        }
    }
}

#[cfg(feature = "dicom")]
#[test]
fn a_scan_that_is_cut_or_of_other_sizes_is_an_error() {
    let whole = std::fs::read(fixture("ct.dcm")).unwrap();
    for at in (132..whole.len()).step_by(3) {
        assert!(decode_bytes(&whole[..at], &Reading::default()).is_err(), "cut at {at}");
    }
    // Rows and Columns, elements (0028,0010) and (0028,0011).
    let rows = whole.windows(4).position(|tag| tag == [0x28, 0, 0x10, 0]).unwrap() + 8;
    for size in [0u16, 6, 0xFFFF] {
        let mut changed = whole.clone();
        changed[rows..rows + 2].copy_from_slice(&size.to_le_bytes());
        let found = decode_bytes(&changed, &Reading::default());
        assert!(matches!(&found, Err(error) if !error.to_string().contains("decoder failed")), "{size}: {found:?}");
    }
}

#[cfg(not(feature = "dicom"))]
#[test]
fn a_program_without_dicom_says_how_to_get_one_with_it() {
    let error = decode_file(&fixture("ct.dcm"), &Reading::default()).unwrap_err().to_string();
    assert!(error.contains("--features dicom"), "{error}");
}

#[test]
fn bands_are_turned_as_their_orientation_says() {
    for case in cases()["upright"].as_array().unwrap() {
        let (name, path) = (&case["file"], fixture(case["file"].as_str().unwrap()));
        let image = decode_file(&path, &Reading { channels: 2, ..Reading::upright() }).unwrap();
        assert_eq!(image.pixels, bytes(&case["bytes"]), "{name}");
        let stored = decode_file(&path, &Reading { channels: 2, ..Reading::default() }).unwrap();
        assert_eq!((stored.width, stored.height), (7, 5), "{name}");
    }
}

#[test]
fn another_number_of_channels_is_an_error_that_says_both() {
    for (name, stored, wanted) in
        [("u1-hwc.npy", 5, 3), ("u1-planes.tif", 5, 4), ("rgb.png", 3, 4), ("u1-pages.tif", 1, 4)]
    {
        let found = decode_file(&fixture(name), &Reading { channels: wanted, ..Reading::default() });
        match found {
            Err(error @ DecodeError::Channels { .. }) => assert!(error.to_string().contains(&stored.to_string())),
            // A file of pages says how many there are.
            Err(error) => assert!(name.contains("pages"), "{name}: {error}"),
            Ok(_) => panic!("{name} was read as {wanted}"),
        }
    }
}

#[test]
fn views_of_one_channel_equal_pillows_gray_images_and_channels_do_not_mix() {
    let gray = decode_file(&fixture("gray.png"), &Reading { channels: 1, ..Reading::default() }).unwrap();
    // The image, its negative and its mirror image side by side.
    let mut mirrored = gray.clone();
    mirrored.flip();
    let negative = Image { pixels: gray.pixels.iter().map(|value| 255 - value).collect(), ..gray.clone() };
    let layers = [&gray, &negative, &mirrored, &gray, &negative];
    let mixed = (0..gray.pixels.len()).flat_map(|at| layers.map(|layer| layer.pixels[at])).collect();
    let five = Image { channels: 5, pixels: mixed, ..gray.clone() };
    for case in cases()["views"].as_array().unwrap() {
        let size = whole(&case["size"]);
        let drawn = drawn(case);
        let view = render(&gray, &drawn, size);
        assert_eq!(view.pixels, bytes(&case["bytes"]), "{case}");
        let all = render(&five, &drawn, size);
        for (channel, layer) in layers.into_iter().enumerate() {
            let alone = render(layer, &drawn, size);
            let of_all: Vec<u8> = all.pixels.iter().skip(channel).step_by(5).copied().collect();
            assert_eq!(of_all, alone.pixels, "{channel} {case}");
        }
    }
}

fn drawn(case: &Value) -> DrawnView {
    let crop: Vec<u32> = case["crop"].as_array().unwrap().iter().map(whole).collect();
    let factor = |name: &str| case["factors"][name].as_f64().unwrap_or(1.0);
    let mut order = vec![];
    for op in case["order"].as_array().unwrap() {
        order.push(if op == "contrast" { ColorOp::Contrast } else { ColorOp::Brightness });
    }
    if order.len() == 1 {
        order.push(ColorOp::Brightness);
    }
    // Saturation, hue and gray are drawn as for colors, and have no effect.
    let order = [ColorOp::Hue, order[0], ColorOp::Saturation, order[1]];
    DrawnView {
        crop: Crop { x: crop[0], y: crop[1], width: crop[2], height: crop[3] },
        filter: Filter::Bicubic,
        flip: false,
        flip_vertical: false,
        turns: 0,
        jitter: Some(Jitter {
            order,
            brightness: factor("brightness"),
            contrast: factor("contrast"),
            saturation: 1.7,
            hue: 0.1,
        }),
        gray: true,
        blur_radius: case["blur"].as_f64(),
        solarize: case["solarize"].as_bool().unwrap().then_some(128),
        operations: Operations::default(),
        erased: None,
    }
}
