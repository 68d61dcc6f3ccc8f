//! Writes the demo's data set and a contact sheet of it: `cargo run --example demo_data -- FOLDER [SIZE]`.

use std::path::PathBuf;

use dinoxide::demo::{self, Counts};
use dinoxide::report::picture::Picture;
use dinoxide::report::sheet::sheet;

const COUNTS: Counts = Counts { train: 4000, val: 800 };
const SEED: u64 = 0;
/// Pictures of every class on the contact sheet, and pixels per side.
const SHOWN: u64 = 8;
const CELL_PX: u32 = 128;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder: PathBuf = arguments.next().unwrap_or_else(|| "demo-data".to_string()).into();
    let size = arguments.next().map_or(Ok(demo::DEFAULT_SIZE), |size| size.parse())?;
    demo::write(&folder, &COUNTS, size, SEED)?;
    let classes = demo::class_names().len() as u64;
    let mut rows = Vec::new();
    for class in 0..classes {
        let mut row = Vec::new();
        for n in 0..SHOWN {
            let sample = demo::sample(SEED, demo::val_index(n * classes + class), size);
            row.push(Picture::new(size, size, sample.pixels)?.resized(CELL_PX, CELL_PX));
        }
        rows.push(row);
    }
    std::fs::write(folder.join("contact-sheet.png"), sheet(&rows, &[]).to_png()?)?;
    Ok(())
}
