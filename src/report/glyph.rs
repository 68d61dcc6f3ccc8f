//! A tiny built-in font for captions on sheets: capitals and digits of three by five dots.

use super::picture::Picture;

/// Pixels per dot.
const DOT: u32 = 2;
/// Pixels from one letter to the next.
const ADVANCE: u32 = 4 * DOT;
/// Pixels that a line of captions takes, with the space below it.
pub(super) const LINE_HEIGHT: u32 = 5 * DOT + 6;
const INK: [u8; 3] = [226, 229, 236];

/// Writes one line, cut off after `width` pixels; letters without a glyph stay blank.
pub(super) fn write(picture: &mut Picture, text: &str, (left, top): (u32, u32), width: u32) {
    let fitting = (width / ADVANCE) as usize;
    for (n, letter) in text.chars().take(fitting).enumerate() {
        let rows = dots(letter.to_ascii_uppercase());
        for dot in 0..15 {
            // Bit 14 is the top left dot, bit 0 the bottom right one.
            if rows >> (14 - dot) & 1 == 1 {
                let corner = (left + n as u32 * ADVANCE + dot % 3 * DOT, top + dot / 3 * DOT);
                fill_dot(picture, corner);
            }
        }
    }
}

fn fill_dot(picture: &mut Picture, (left, top): (u32, u32)) {
    for pixel in 0..DOT * DOT {
        let (column, row) = (left + pixel % DOT, top + pixel / DOT);
        if column < picture.width() && row < picture.height() {
            picture.set_pixel(column, row, INK);
        }
    }
}

/// Five rows of three dots, top row in the highest bits.
fn dots(letter: char) -> u16 {
    match letter {
        'A' => 0b010_101_111_101_101,
        'B' => 0b110_101_110_101_110,
        'C' => 0b011_100_100_100_011,
        'D' => 0b110_101_101_101_110,
        'E' => 0b111_100_110_100_111,
        'F' => 0b111_100_110_100_100,
        'G' => 0b011_100_101_101_011,
        'H' => 0b101_101_111_101_101,
        'I' => 0b111_010_010_010_111,
        'J' => 0b001_001_001_101_010,
        'K' => 0b101_110_100_110_101,
        'L' => 0b100_100_100_100_111,
        'M' => 0b101_111_111_101_101,
        'N' => 0b110_101_101_101_101,
        'O' => 0b010_101_101_101_010,
        'P' => 0b110_101_110_100_100,
        'Q' => 0b010_101_101_110_011,
        'R' => 0b110_101_110_101_101,
        'S' => 0b011_100_010_001_110,
        'T' => 0b111_010_010_010_010,
        'U' => 0b101_101_101_101_111,
        'V' => 0b101_101_101_101_010,
        'W' => 0b101_101_111_111_101,
        'X' => 0b101_101_010_101_101,
        'Y' => 0b101_101_010_010_010,
        'Z' => 0b111_001_010_100_111,
        '0' => 0b111_101_101_101_111,
        '1' => 0b010_110_010_010_111,
        '2' => 0b110_001_010_100_111,
        '3' => 0b110_001_010_001_110,
        '4' => 0b101_101_111_001_001,
        '5' => 0b111_100_110_001_110,
        '6' => 0b011_100_111_101_111,
        '7' => 0b111_001_010_010_010,
        '8' => 0b111_101_111_101_111,
        '9' => 0b111_101_111_001_110,
        '%' => 0b101_001_010_100_101,
        '.' => 0b000_000_000_000_010,
        '-' => 0b000_000_111_000_000,
        '+' => 0b000_010_111_010_000,
        '_' => 0b000_000_000_000_111,
        '/' => 0b001_001_010_100_100,
        ':' => 0b000_010_000_010_000,
        _ => 0,
    }
}
