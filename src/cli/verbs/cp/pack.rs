//! Packing local files into a tar archive, and unpacking one that a host made. Blocking; knows
//! nothing of hosts.
//!
//! An archive from a host is not ours to trust: nothing is written outside of the directory it is
//! unpacked into, whatever names and links are in it.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read, Write},
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime},
};

use tar::{Archive, Builder, EntryType, Header};

use crate::{platform::files, untar::Checked};

/// What was copied.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// How many files.
    pub files: u64,
    /// How many bytes are in them.
    pub bytes: u64,
    /// What is neither file, directory nor link, and was left out.
    pub left_out: Vec<PathBuf>,
}

/// How much data a tree has.
pub fn weigh(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return if metadata.is_file() { metadata.len() } else { 0 };
    }
    fs::read_dir(path).map_or(0, |entries| entries.flatten().map(|entry| weigh(&entry.path())).sum())
}

/// Packs a file or directory under the name it shall have; an empty name stands for what is in the directory.
/// `end` is the name of an empty file that comes last.
pub fn pack(source: &Path, name: &Path, end: Option<&str>, to: impl Write) -> io::Result<Copied> {
    let mut copied = Copied::default();
    let mut builder = Builder::new(to);
    // A link that the source itself is is followed.
    let metadata = fs::metadata(source).map_err(|e| of(source, &e))?;
    add(&mut builder, source, name, &metadata, &mut copied)?;
    if let Some(end) = end {
        let mut header = Header::new_gnu();
        header.set_size(0);
        builder.append_data(&mut header, end, io::empty())?;
    }
    builder.finish()?;
    builder.get_mut().flush()?;
    Ok(copied)
}

fn add(
    builder: &mut Builder<impl Write>,
    source: &Path,
    name: &Path,
    metadata: &Metadata,
    copied: &mut Copied,
) -> io::Result<()> {
    let kind = metadata.file_type();
    let mut header = Header::new_gnu();
    header.set_mode(files::mode(metadata));
    // What is older than the epoch is from then.
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    header.set_mtime(modified.map_or(0, |time| time.as_secs()));
    // On the host it belongs to who unpacks it; ids of this machine mean nothing there.
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    if kind.is_dir() {
        header.set_entry_type(EntryType::Directory);
        if !name.as_os_str().is_empty() {
            builder.append_data(&mut header, name, io::empty())?;
        }
        let mut entries =
            fs::read_dir(source).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(|e| of(source, &e))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let metadata = entry.metadata().map_err(|e| of(&path, &e))?;
            add(builder, &path, &name.join(entry.file_name()), &metadata, copied)?;
        }
    } else if kind.is_file() {
        let file = File::open(source).map_err(|e| of(source, &e))?;
        // Its length was promised: a file that changes meanwhile must not shift what comes after it.
        let length = metadata.len();
        header.set_size(length);
        builder.append_data(&mut header, name, file.chain(io::repeat(0)).take(length))?;
        copied.files += 1;
        copied.bytes += length;
    } else if kind.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        builder.append_link(&mut header, name, fs::read_link(source).map_err(|e| of(source, &e))?)?;
    } else {
        // A socket, a pipe or a device.
        copied.left_out.push(source.to_owned());
    }
    Ok(())
}

/// Unpacks a directory's archive, made with `.` as its root, into a directory that is there.
pub fn unpack(from: impl Read, into: &Path) -> io::Result<Copied> {
    let mut copied = Copied::default();
    let mut archive = archive(from);
    // A directory may forbid what is yet to be put into it, and its time changes with that: both come last.
    let mut directories = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let kind = entry.header().entry_type();
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(io::Error::other(format!(
                "the node's archive has {path:?} in it, which leads out of the directory"
            )));
        }
        match kind {
            EntryType::Directory if path.components().all(|part| part == Component::CurDir) => {
                let (mode, modified) = (entry.header().mode()?, entry.header().mtime()?);
                directories.push(Directory::Root(mode, modified));
            }
            EntryType::Directory => {
                // Made now with the usual mode, so that what is in it finds it.
                make_directory(into, &path)?;
                directories.push(Directory::Within(Box::new(entry)));
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                copied.files += 1;
                copied.bytes += entry.size();
                place(&mut entry, into, &path)?;
            }
            EntryType::Symlink | EntryType::Link => place(&mut entry, into, &path)?,
            _ => copied.left_out.push(path),
        }
    }
    for directory in directories.into_iter().rev() {
        match directory {
            Directory::Root(mode, modified) => {
                files::set_folder(into, mode, time_of(modified))?;
            }
            Directory::Within(mut entry) => {
                let path = entry.path()?.into_owned();
                place(&mut entry, into, &path)?;
            }
        }
    }
    drain(archive)?;
    Ok(copied)
}

enum Directory<'a, R: Read> {
    Root(u32, u64),
    Within(Box<tar::Entry<'a, R>>),
}

/// Unpacks the one file of an archive to a path that is not there yet.
pub fn unpack_file(from: impl Read, to: &Path) -> io::Result<Copied> {
    let mut archive = archive(from);
    let mut copied = Copied::default();
    if let Some(entry) = archive.entries()?.next() {
        let mut entry = entry?;
        let mut file = File::options().write(true).create_new(true).open(to)?;
        copied.files = 1;
        copied.bytes = io::copy(&mut entry, &mut file)?;
        if copied.bytes != entry.size() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the node's archive breaks off"));
        }
        time_of(entry.header().mtime()?).map_or(Ok(()), |time| file.set_modified(time))?;
        files::set_mode(&file, entry.header().mode()?)?;
    }
    drain(archive)?;
    if copied.files == 0 {
        return Err(io::Error::other("the node's archive is empty"));
    }
    Ok(copied)
}

fn archive<R: Read>(from: R) -> Archive<Checked<R>> {
    let mut archive = Archive::new(Checked::new(from));
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(false);
    archive.set_overwrite(true);
    archive
}

/// The library leaves out what would land outside, and follows no link that leads there.
fn place(entry: &mut tar::Entry<'_, impl Read>, into: &Path, path: &Path) -> io::Result<()> {
    match entry.unpack_in(into) {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err(io::Error::other(format!("the node's archive has {path:?} in it, which leads out of the directory")))
        }
        Err(e) => Err(io::Error::new(e.kind(), crate::cli::failure::words(&e))),
    }
}

/// A directory within `into`, by a way that leads through no link out of it.
fn make_directory(into: &Path, path: &Path) -> io::Result<()> {
    let mut here = into.to_owned();
    let inside = into.canonicalize()?;
    for part in path.components().filter_map(|part| if let Component::Normal(name) = part { Some(name) } else { None })
    {
        here.push(part);
        match fs::create_dir(&here) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && here.is_dir() => {}
            Err(e) => return Err(of(&here, &e)),
        }
        if !here.canonicalize()?.starts_with(&inside) {
            return Err(io::Error::other(format!("{} leads out of the directory", here.display())));
        }
    }
    Ok(())
}

/// Whoever writes into the pipe must not find it broken because of the padding after the archive.
fn drain<R: Read>(archive: Archive<R>) -> io::Result<()> {
    io::copy(&mut archive.into_inner(), &mut io::sink()).map(drop)
}

/// None is for what no clock of this machine can show: then it is left as it is.
fn time_of(seconds: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn of(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

// They are about links, pipes and modes.
#[cfg(test)]
#[cfg(unix)]
#[path = "pack_tests.rs"]
mod tests;
