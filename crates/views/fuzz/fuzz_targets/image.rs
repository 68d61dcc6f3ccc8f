//! Any bytes give an image of the size it states, or a reason: no hang, no abort, no memory without bounds. A decoder that panics is
//! contained (`error.rs`, `guard`), and is one more reason.
#![no_main]

use dinoxide_views::{Reading, decode_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(image) = decode_bytes(bytes, &Reading::upright()) {
        assert_eq!(image.pixels.len(), image.width as usize * image.height as usize * 3);
    }
});
