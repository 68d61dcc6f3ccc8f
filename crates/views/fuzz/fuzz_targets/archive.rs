//! Any bytes are an archive or table whose members can be read one by one, or an error.
#![no_main]

use std::io::Write as _;

use dinoxide_views::{Reading, Source};
use libfuzzer_sys::fuzz_target;

/// Members that are read of each archive.
const READ: usize = 8;

fuzz_target!(|bytes: &[u8]| {
    let suffix = format!(".{}", env!("CARGO_BIN_NAME"));
    let Ok(mut file) = tempfile::Builder::new().suffix(&suffix).tempfile_in("/dev/shm") else { return };
    let Ok(()) = file.write_all(bytes) else { return };
    let Ok(source) = Source::open(&[file.path().display().to_string()]) else { return };
    for image in source.images.iter().take(READ) {
        if let Ok(image) = image.decode(&Reading::default()) {
            assert_eq!(image.pixels.len(), image.width as usize * image.height as usize * 3);
        }
    }
});
