//! The bundle: a directory or a `.tar.gz` of texts, each without secrets.
//!
//! It appears under its name when it is whole; until then it has another, and is gone when the
//! program ends early. Only its owner may read it.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};

use super::redact::Redactor;
use crate::{
    cli::failure::Failure,
    platform::files::{folder_for_owner, for_owner},
};

/// A bundle that is being made.
pub struct Bundle {
    redactor: Redactor,
    /// The directory everything in an archive is in.
    root: String,
    archive: Option<tar::Builder<GzEncoder<File>>>,
    part: PathBuf,
    target: PathBuf,
    whole: bool,
}

impl Bundle {
    /// Begins one at the path: an archive where that ends in `.tar.gz` or `.tgz`, else a directory.
    pub fn begin(target: &Path, root: &str, redactor: Redactor) -> Result<Self, Failure> {
        let shown = target.display();
        let name = target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let part = target.with_file_name(format!(".{name}.testkit-{}", std::process::id()));
        let unmade = |e: &io::Error| Failure::new(format!("the bundle {shown} cannot be made: {e}"));
        let is_archive = [".tar.gz", ".tgz"].iter().any(|end| name.ends_with(end));
        if name.is_empty() || (is_archive && target.is_dir()) {
            return Err(Failure::new(format!("{shown} is no name for a bundle"))
                .help("write -o DIR for a directory that is not there yet, or -o FILE.tar.gz"));
        }
        let archive = if is_archive {
            let file = new(&part).map_err(|e| unmade(&e))?;
            Some(tar::Builder::new(GzEncoder::new(file, Compression::default())))
        } else {
            let empty = fs::read_dir(target).map_or(!target.exists(), |mut entries| entries.next().is_none());
            if !empty {
                return Err(Failure::new(format!("{shown} is there already, and not empty"))
                    .help("write -o DIR with a directory that is not there yet, or -o FILE.tar.gz"));
            }
            folder_for_owner(&part).map_err(|e| unmade(&e))?;
            None
        };
        Ok(Self { redactor, root: root.to_owned(), archive, part, target: target.to_owned(), whole: false })
    }

    /// A text without secrets, as it would stand in the bundle.
    pub fn redact(&self, text: &str) -> String {
        self.redactor.text(text)
    }

    /// Adds a text under a relative path.
    pub fn add(&mut self, path: &str, text: &str) -> Result<(), Failure> {
        let text = self.redactor.text(text);
        self.write(path, text.as_bytes())
            .map_err(|e| Failure::new(format!("{} cannot be written: {path}: {e}", self.target.display())))
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        match &mut self.archive {
            Some(archive) => {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o600);
                header.set_mtime(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0));
                archive.append_data(&mut header, format!("{}/{path}", self.root), bytes)
            }
            None => {
                let path = self.part.join(path);
                if let Some(parent) = path.parent() {
                    folder_for_owner(parent)?;
                }
                new(&path)?.write_all(bytes)
            }
        }
    }

    /// It is whole: gives where it is.
    pub fn end(mut self) -> Result<PathBuf, Failure> {
        let finished = match self.archive.take() {
            Some(archive) => archive.into_inner().and_then(GzEncoder::finish).map(drop),
            None => Ok(()),
        };
        finished
            .and_then(|()| fs::rename(&self.part, &self.target))
            .map_err(|e| Failure::new(format!("the bundle {} cannot be finished: {e}", self.target.display())))?;
        self.whole = true;
        Ok(self.target.clone())
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        if !self.whole {
            let _ = fs::remove_file(&self.part);
            let _ = fs::remove_dir_all(&self.part);
        }
    }
}

/// A file that is not there yet, for its owner alone.
fn new(path: &Path) -> io::Result<File> {
    for_owner(File::options().write(true).create_new(true)).open(path)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn both_forms_hold_the_same_without_secrets_and_only_when_whole() {
        let folder = std::env::temp_dir().join(format!("testkit-bundle-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for (name, file) in [("dir", "dir/nodes/m0/x"), ("b.tar.gz", "b.tar.gz")] {
            let target = folder.join(name);
            let begin = || Bundle::begin(&target, "root", Redactor::new([b"a secret of 16 bytes".as_slice()])).unwrap();
            let mut bundle = begin();
            bundle.add("nodes/m0/x", "keep a secret of 16 bytes here").unwrap();
            drop(bundle);
            assert_eq!(
                fs::read_dir(&folder).unwrap().filter(|e| e.as_ref().unwrap().path() != folder.join("dir")).count(),
                0
            );
            let mut bundle = begin();
            bundle.add("nodes/m0/x", "keep a secret of 16 bytes here").unwrap();
            assert_eq!(bundle.end().unwrap(), target);
            let mode = crate::platform::files::mode(&fs::metadata(folder.join(file)).unwrap());
            assert!(cfg!(windows) || mode & 0o077 == 0, "{mode:o}");
        }
        assert_eq!(fs::read_to_string(folder.join("dir/nodes/m0/x")).unwrap(), "keep [cut] here\n");
        let archive = flate2::read::GzDecoder::new(File::open(folder.join("b.tar.gz")).unwrap());
        let mut archive = tar::Archive::new(archive);
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        assert_eq!((entry.path().unwrap().to_str(), text.as_str()), (Some("root/nodes/m0/x"), "keep [cut] here\n"));
        let full = Bundle::begin(&folder.join("dir"), "root", Redactor::new([])).err().unwrap();
        assert!(full.what().contains("not empty"), "{full}");
        fs::remove_dir_all(folder).unwrap();
    }
}
