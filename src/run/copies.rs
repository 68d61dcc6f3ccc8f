//! Images that are there more than once, found before a run begins without reading all of them.

use std::collections::HashMap;

use dinoxide_views::Source;
use dinoxide_views::source::SourceImage;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

/// More images are not looked at: asking for the size of each takes too long.
const MOST_IMAGES: usize = 50_000;
/// Bytes that are read at most.
const MOST_BYTES: u64 = 256 << 20;
/// Share of copies that deserves a warning.
const MANY: f64 = 0.05;

/// A warning, if many images have the same bytes as an earlier one. Only files of one size are read.
pub(super) fn warning(source: &Source) -> Option<String> {
    let copies = if source.len() > MOST_IMAGES { 0 } else { count(source) };
    (copies as f64 > MANY * source.len() as f64).then(|| {
        format!(
            "{copies} of {} images are copies of others, to the byte, and count several times; `dinoxide check` lists them",
            source.len()
        )
    })
}

/// The number of copies, estimated where not all files of one size could be read.
fn count(source: &Source) -> usize {
    let sizes: Vec<Option<u64>> = source.images.par_iter().map(SourceImage::stored_bytes).collect();
    let mut groups: HashMap<u64, Vec<usize>> = HashMap::new();
    for (index, size) in sizes.into_iter().enumerate() {
        if let Some(size) = size {
            groups.entry(size).or_default().push(index);
        }
    }
    let mut groups: Vec<(u64, Vec<usize>)> = groups.into_iter().filter(|(_, group)| group.len() > 1).collect();
    groups.sort_unstable();
    let all: usize = groups.iter().map(|(_, group)| group.len()).sum();
    let mut bytes = 0;
    let within = |(size, group): &(u64, Vec<usize>)| {
        bytes += size * group.len() as u64;
        bytes <= MOST_BYTES
    };
    let read: Vec<(u64, Vec<usize>)> = groups.into_iter().take_while(within).collect();
    let looked_at: usize = read.iter().map(|(_, group)| group.len()).sum();
    let found: usize = read.par_iter().map(|(_, group)| group.len() - different(source, group)).sum();
    found * all / looked_at.max(1)
}

/// How many of these images are different; what cannot be read is.
fn different(source: &Source, group: &[usize]) -> usize {
    let digest = |index: &usize| source.images[*index].read().ok().map(|bytes| Sha256::digest(&bytes));
    let mut digests: Vec<_> = group.iter().filter_map(digest).collect();
    let unreadable = group.len() - digests.len();
    digests.sort_unstable();
    digests.dedup();
    unreadable + digests.len()
}
