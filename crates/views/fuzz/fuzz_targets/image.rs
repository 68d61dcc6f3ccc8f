//! Any bytes give an image of the size it states, or a reason: no hang, no abort, no memory without bounds. A decoder that panics is
//! contained (`error.rs`, `guard`), and is one more reason.
#![no_main]

use dinoxide_views::{Reading, decode_bytes};
use libfuzzer_sys::fuzz_target;

/// Forms in which files are read; their length chooses.
const CHANNELS: [usize; 4] = [3, 1, 4, 5];

fuzz_target!(|bytes: &[u8]| {
    let channels = CHANNELS[bytes.len() % CHANNELS.len()];
    if let Ok(image) = decode_bytes(bytes, &Reading { channels, ..Reading::upright() }) {
        assert_eq!(image.pixels.len(), image.width as usize * image.height as usize * channels);
    }
});
