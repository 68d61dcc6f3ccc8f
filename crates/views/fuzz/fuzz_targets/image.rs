//! Any bytes give an image of the size it states, or a reason: no panic of ours or of a decoder, no hang, no memory without bounds.
#![no_main]

use dinoxide_views::{DecodeError, Exif, decode_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match decode_bytes(bytes, Exif::Apply) {
        Ok(image) => assert_eq!(image.pixels.len(), image.width as usize * image.height as usize * 3),
        Err(DecodeError::Panicked(why)) => panic!("{why}"),
        Err(_) => {}
    }
});
