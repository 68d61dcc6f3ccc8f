//! Images that are named: globs, lists, tables.
use std::path::{Component, Path, PathBuf};

use super::{Root, SourceImage, archive, is_image_name, walk};
use crate::error::{Error, Result};

/// Names of a table's column of paths, in order of preference.
const PATH_COLUMNS: [&str; 9] =
    ["path", "filepath", "file_path", "image_path", "filename", "file_name", "file", "image", "img"];
/// Names of a table's column of labels.
const LABEL_COLUMNS: [&str; 4] = ["label", "class", "category", "target"];

/// Reads one path a line, relative to the list; `#` begins a comment line.
pub(super) fn read_list(list: &Path) -> Result<Vec<SourceImage>> {
    let text = std::fs::read_to_string(list).map_err(|source| Error::Io { path: list.into(), source })?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let named = Named::of(list);
    lines.map(|line| named.image(line)).collect()
}

/// Reads the column of paths of a table, relative to the table.
pub(super) fn read_table(table: &Path) -> Result<Vec<SourceImage>> {
    let rows = read_columns(table, &[&PATH_COLUMNS])?;
    let named = Named::of(table);
    rows.iter().map(|row| named.image(&row[0])).collect()
}

/// Reads paths and labels of a table.
pub(super) fn read_labelled_table(table: &Path) -> Result<Vec<(SourceImage, String)>> {
    let rows = read_columns(table, &[&PATH_COLUMNS, &LABEL_COLUMNS])?;
    let named = Named::of(table);
    let labelled = |mut row: Vec<String>| {
        let label = row.swap_remove(1);
        if label.is_empty() {
            let reason = format!("`{}` has no label; remove the row or label it", row[0]);
            return Err(Error::BadTable { path: table.into(), reason });
        }
        Ok((named.image(&row[0])?, label))
    };
    rows.into_iter().map(labelled).collect()
}

/// Reads some columns of a table, each known by several names; rows without a path are left out.
fn read_columns(table: &Path, columns: &[&[&str]]) -> Result<Vec<Vec<String>>> {
    let bad = |reason: String| Error::BadTable { path: table.into(), reason };
    let mut reader = csv::Reader::from_path(table).map_err(|error| bad(error.to_string()))?;
    let header = reader.headers().map_err(|error| bad(error.to_string()))?.clone();
    // Spreadsheets put a mark before the first name.
    let plain = |name: &str| name.trim_start_matches('\u{feff}').trim().to_ascii_lowercase();
    let find = |names: &&[&str]| {
        let places = names.iter().filter_map(|name| header.iter().position(|column| plain(column) == **name));
        places.into_iter().next().ok_or_else(|| {
            let found = header.iter().collect::<Vec<_>>().join("`, `");
            bad(format!("no column is named `{}`; it has `{found}`", names.join("`, `")))
        })
    };
    let places = columns.iter().map(find).collect::<Result<Vec<usize>>>()?;
    let mut rows = Vec::new();
    for row in reader.records() {
        let row = row.map_err(|error| bad(error.to_string()))?;
        let cells: Vec<String> = places.iter().map(|place| row.get(*place).unwrap_or("").trim().to_string()).collect();
        if !cells[0].is_empty() {
            rows.push(cells);
        }
    }
    Ok(rows)
}

/// Names in a file, relative to it.
struct Named<'a> {
    list: &'a Path,
    root: std::sync::Arc<Root>,
}

impl<'a> Named<'a> {
    fn of(list: &'a Path) -> Self {
        Self { list, root: Root::folder(list.parent().unwrap_or(Path::new(""))) }
    }

    fn image(&self, name: &str) -> Result<SourceImage> {
        // A list may have been written on another system.
        for name in [name.to_string(), name.replace('\\', "/")] {
            let image = self.root.file(name);
            if image.path().is_file() {
                return Ok(image);
            }
        }
        let path = self.root.folder.join(name);
        Err(Error::Missing { path: format!("{} (listed in {})", path.display(), self.list.display()) })
    }
}

/// Finds the images and folders that match a pattern, and archives if the pattern ends as their names do; names are relative
/// to the last folder before the first wildcard.
pub(super) fn expand_glob(pattern: &str) -> Result<Vec<SourceImage>> {
    let bad = |reason: String| Error::BadGlob { pattern: pattern.to_string(), reason };
    let fixed = pattern.find(['*', '?', '[']).and_then(|at| pattern[..at].rfind(['/', '\\'])).map_or(0, |at| at + 1);
    // What is found does not begin with `./`, whatever the pattern does.
    let own = |part: &Component<'_>| *part != Component::CurDir;
    let folder: PathBuf = Path::new(&pattern[..fixed]).components().filter(own).collect();
    let (root, archives) = (Root::folder(&folder), archive::is_archive(Path::new(pattern)));
    let mut images = Vec::new();
    for entry in glob::glob(pattern).map_err(|error| bad(error.to_string()))? {
        let path = entry.map_err(|error| bad(error.to_string()))?;
        let Some(shown) = path.strip_prefix(&folder).ok().and_then(Path::to_str) else { continue };
        if path.is_dir() {
            walk::walk(&root, shown, &mut images)?;
        } else if archives && archive::is_archive(&path) {
            images.extend(archive::open(&path, Some(&folder))?);
        } else if is_image_name(&path) {
            images.push(root.file(if cfg!(windows) { shown.replace('\\', "/") } else { shown.to_string() }));
        }
    }
    Ok(images)
}
