//! The manifest: the list of a source written down, so that a run that goes on sees the same images, and need not look for them
//! again. A gzipped table, one image a row.
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use super::archive::{Member, Packing};
use super::{Root, Source, SourceImage};
use crate::error::{Error, Result};

/// One image.
#[derive(Serialize, Deserialize)]
struct Row {
    /// What the name is relative to.
    folder: PathBuf,
    /// The file that holds the image; empty for a file of its own.
    archive: Option<PathBuf>,
    name: String,
    /// Number of the input that it came from, from 0.
    input: u32,
    /// First byte in the archive.
    offset: Option<u64>,
    /// Bytes in the archive.
    bytes: Option<u64>,
    packing: Option<Packing>,
    /// Name of its class, if the source is labelled.
    #[serde(default)]
    class: Option<String>,
}

impl Source {
    /// Writes the list, classes with it.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write_manifest(&self, to: &mut dyn Write) -> std::io::Result<()> {
        let mut table = csv::Writer::from_writer(GzEncoder::new(to, Compression::fast()));
        let inputs = self.inputs.iter().enumerate();
        let inputs = inputs.flat_map(|(input, &count)| std::iter::repeat_n(input as u32, count as usize));
        for (image, input) in self.images.iter().zip(inputs) {
            let member = image.member;
            table.serialize(Row {
                folder: image.root.folder.clone(),
                archive: image.root.archive.clone(),
                name: image.name.to_string(),
                input,
                offset: member.map(|member| member.offset),
                bytes: member.map(|member| member.stored),
                packing: member.map(|member| member.packing),
                class: image.label.and_then(|label| self.classes.get(label as usize).cloned()),
            })?;
        }
        table.into_inner().map_err(|error| error.into_error())?.finish()?;
        Ok(())
    }

    /// Reads a list that [`Source::write_manifest`] wrote, of `inputs` inputs.
    ///
    /// # Errors
    /// [`Error::BadTable`] if it is damaged, [`Error::Io`] if it cannot be read.
    pub fn read_manifest(path: &Path, inputs: usize) -> Result<Self> {
        let file = File::open(path).map_err(|source| Error::Io { path: path.into(), source })?;
        let bad = |reason: String| Error::BadTable { path: path.into(), reason };
        read(BufReader::new(file), inputs).map_err(|error| bad(error.to_string()))
    }
}

fn read(from: impl Read, inputs: usize) -> std::io::Result<Source> {
    // All of it first: what is damaged shows at its end.
    let mut table = Vec::new();
    GzDecoder::new(from).read_to_end(&mut table)?;
    let mut roots: HashMap<(PathBuf, Option<PathBuf>), Arc<Root>> = HashMap::new();
    let mut classes: Vec<Option<String>> = Vec::new();
    let mut source = Source { images: Vec::new(), classes: Vec::new(), inputs: vec![0; inputs] };
    for row in csv::Reader::from_reader(&table[..]).into_deserialize() {
        let Row { folder, archive, name, input, offset, bytes, packing, class } = row?;
        classes.push(class);
        let Some(count) = source.inputs.get_mut(input as usize) else {
            return Err(std::io::Error::other(format!("it lists images of input {input}, and there are {inputs}")));
        };
        *count += 1;
        let root = roots.entry((folder.clone(), archive.clone())).or_insert_with(|| Arc::new(Root { folder, archive }));
        let member = match (offset, bytes, packing) {
            (Some(offset), Some(stored), Some(packing)) => Some(Member { offset, stored, packing }),
            _ => None,
        };
        source.images.push(SourceImage { name: name.into(), label: None, root: Arc::clone(root), member });
    }
    if let Some(classes) = classes.into_iter().collect::<Option<Vec<String>>>() {
        source.label(&classes);
    }
    Ok(source)
}
