//! Thumbnails against Pillow (`parity/generate/thumbnails.py`): every byte, by its digest.

use std::path::PathBuf;

use dinoxide_views::Image;
use dinoxide_views::thumbnail::thumbnail;
use serde_json::Value;

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The bytes that `parity/README.md` calls filler.
fn filler(name: &str, len: usize) -> Vec<u8> {
    let first = fnv1a(name.as_bytes());
    let word = |index: u64| {
        let z = first.wrapping_add(index).wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 56) as u8
    };
    (0..len as u64).map(word).collect()
}

fn noise(number: usize, width: u32, height: u32) -> Image {
    let pixels = filler(&format!("thumbnail.{number}"), (width * height * 3) as usize);
    Image { width, height, channels: 3, pixels }
}

#[test]
fn every_byte_is_pillows() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../parity/fixtures/thumbnails/cases.json");
    let cases: Vec<Vec<Value>> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(cases.len() > 300);
    let mut wrong = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let side = |at: usize| case[at].as_u64().unwrap() as u32;

        let small = thumbnail(&noise(number, side(0), side(1)), (side(2), side(3)));

        let found = ((small.width, small.height), format!("{:016x}", fnv1a(&small.pixels)));
        if found != ((side(4), side(5)), case[6].as_str().unwrap().to_owned()) {
            wrong.push(format!("{case:?} became {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn planes_of_any_number_are_reduced_alike() {
    let color = noise(0, 300, 200);
    let gray = |channel: usize| {
        let pixels = color.pixels.iter().skip(channel).step_by(3).copied().collect();
        Image { channels: 1, pixels, ..color }
    };

    let together = thumbnail(&color, (37, 37));

    for channel in 0..3 {
        let alone = thumbnail(&gray(channel), (37, 37)).pixels;
        assert_eq!(alone, together.pixels.iter().skip(channel).step_by(3).copied().collect::<Vec<_>>());
    }
}
