//! Classes from folders, where folders are classes.

use std::collections::BTreeMap;

/// Names of the classes, sorted, and the class of every image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Classes {
    pub names: Vec<String>,
    pub of: Vec<usize>,
}

impl Classes {
    /// The name of the folder that each image lies in or, while that is the same for all, of the folder above. None if an image lies
    /// in no folder, all in one, or each in its own.
    pub fn of_folders<'a>(images: impl Iterator<Item = &'a str>) -> Option<Self> {
        let folders: Vec<Vec<&str>> = images.map(|name| name.rsplit('/').skip(1).collect()).collect();
        for above in 0.. {
            let level = folders.iter().map(|folders| folders.get(above).copied()).collect::<Option<Vec<&str>>>()?;
            let mut names: BTreeMap<&str, usize> = level.iter().map(|name| (*name, 0)).collect();
            if names.len() == 1 {
                continue;
            }
            names.values_mut().zip(0..).for_each(|(number, place)| *number = place);
            let of = level.iter().map(|name| names[name]).collect();
            let known = names.len() < level.len();
            return known.then(|| Self { names: names.into_keys().map(str::to_owned).collect(), of });
        }
        None
    }

    /// The name of an image's class.
    pub fn name(&self, image: usize) -> &str {
        &self.names[self.of[image]]
    }
}
