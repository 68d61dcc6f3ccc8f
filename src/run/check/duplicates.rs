//! Groups of images that are the same, to the byte or to the eye.

use std::collections::HashMap;

use super::look::Look;

/// Signs of 128 that two pictures of the same thing may differ in. Less than the number of parts below, so that at least
/// one part is equal.
const MOST_DIFFERENT: u32 = 7;
/// Parts that a likeness is cut into, of sixteen signs each.
const PARTS: usize = 8;
/// Images with one equal part that are compared with each other; of more, only neighbours in order.
const MOST_COMPARED: usize = 2000;

/// Groups of two and more files with the same bytes, as indices, in order.
pub(super) fn exact(looks: &[Option<Look>]) -> Vec<Vec<usize>> {
    let mut groups: HashMap<u128, Vec<usize>> = HashMap::new();
    for (index, look) in looks.iter().enumerate() {
        if let Some(look) = look {
            groups.entry(look.digest).or_default().push(index);
        }
    }
    sorted(groups.into_values().collect())
}

/// Groups of two and more images that look alike, of each set of equal files only the first.
pub(super) fn near(looks: &[Option<Look>], exact: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut again = vec![false; looks.len()];
    exact.iter().flat_map(|group| &group[1..]).for_each(|index| again[*index] = true);
    let likeness = |index: usize| looks[index].as_ref().filter(|_| !again[index]).and_then(|look| look.likeness);
    let seen: Vec<(usize, u128)> = (0..looks.len()).filter_map(|index| Some((index, likeness(index)?))).collect();
    let mut family: Vec<usize> = (0..seen.len()).collect();
    for part in 0..PARTS {
        let mut buckets: HashMap<u16, Vec<usize>> = HashMap::new();
        for (place, (_, signs)) in seen.iter().enumerate() {
            buckets.entry((signs >> (16 * part)) as u16).or_default().push(place);
        }
        for bucket in buckets.values() {
            let reach = if bucket.len() > MOST_COMPARED { 1 } else { bucket.len() };
            for (at, first) in bucket.iter().enumerate() {
                for second in bucket.iter().skip(at + 1).take(reach) {
                    if (seen[*first].1 ^ seen[*second].1).count_ones() <= MOST_DIFFERENT {
                        join(&mut family, *first, *second);
                    }
                }
            }
        }
    }
    let mut groups: HashMap<usize, Vec<usize>> = HashMap::new();
    for (place, (index, _)) in seen.iter().enumerate() {
        groups.entry(head(&mut family, place)).or_default().push(*index);
    }
    sorted(groups.into_values().collect())
}

fn sorted(mut groups: Vec<Vec<usize>>) -> Vec<Vec<usize>> {
    groups.retain(|group| group.len() > 1);
    groups.sort_unstable();
    groups
}

/// The first member of a family; the way there becomes shorter.
fn head(family: &mut [usize], mut place: usize) -> usize {
    while family[place] != place {
        family[place] = family[family[place]];
        place = family[place];
    }
    place
}

fn join(family: &mut [usize], first: usize, second: usize) {
    let (first, second) = (head(family, first), head(family, second));
    family[first.max(second)] = first.min(second);
}
