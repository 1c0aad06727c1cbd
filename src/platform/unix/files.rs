//! Modes of files, folders, and where files are.

use std::{
    fs::{self, DirBuilder, File, FileType, Metadata, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Has files be made for their owner alone.
pub fn for_owner(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}

/// Makes a folder, and those it is in, for their owner alone.
///
/// # Errors
/// What the system says.
pub fn folder_for_owner(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A new file without a name, for its owner alone: nothing of it can be left behind. It has this one for a moment.
///
/// # Errors
/// What the system says.
pub fn nameless(path: &Path) -> io::Result<File> {
    let file = for_owner(File::options().read(true).write(true).create_new(true)).open(path)?;
    fs::remove_file(path)?;
    Ok(file)
}

/// Reads as much as fits from a place in a file.
///
/// # Errors
/// What the system says.
pub fn read_at(file: &File, to: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(to, offset)
}

/// A file's mode.
#[must_use]
pub fn mode(metadata: &Metadata) -> u32 {
    metadata.mode() & 0o7777
}

/// Gives a file its mode.
///
/// # Errors
/// What the system says.
pub fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(fs::Permissions::from_mode(mode & 0o7777))
}

/// Gives a folder its mode, and its time where it has one.
///
/// # Errors
/// What the system says.
pub fn set_folder(path: &Path, mode: u32, modified: Option<SystemTime>) -> io::Result<()> {
    let folder = File::open(path)?;
    modified.map_or(Ok(()), |time| folder.set_modified(time))?;
    set_mode(&folder, mode)
}

/// Whether what is written there goes to a device or to another program.
#[must_use]
pub fn leads_elsewhere(kind: FileType) -> bool {
    kind.is_char_device() || kind.is_fifo()
}

/// Whether it failed because too many files are open.
#[must_use]
pub fn too_many_open(error: &io::Error) -> bool {
    [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
        .iter()
        .any(|it| error.raw_os_error() == Some(it.raw_os_error()))
}

/// The system's own folder for OpenSSH.
#[must_use]
pub fn of_ssh() -> PathBuf {
    PathBuf::from("/etc/ssh")
}

/// What the user is called, where that is said.
#[must_use]
pub fn user() -> Option<String> {
    std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok()
}
