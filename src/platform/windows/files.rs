//! Modes of files, folders, and where files are. A file of a user's folders is for that user alone, as these are, and has no
//! mode.

use std::{
    fs::{self, File, FileType, Metadata, OpenOptions},
    io,
    os::windows::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// `FILE_FLAG_DELETE_ON_CLOSE`.
const GONE_WHEN_CLOSED: u32 = 0x0400_0000;
/// `WSAEMFILE` and `ERROR_TOO_MANY_OPEN_FILES`.
const TOO_MANY: [i32; 2] = [10024, 4];

/// Has files be made for their owner alone: as the folder is.
pub fn for_owner(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Makes a folder, and those it is in.
///
/// # Errors
/// What the system says.
pub fn folder_for_owner(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// A new file that nobody else can open, and that is gone when it is closed, however that comes about.
///
/// # Errors
/// What the system says.
pub fn nameless(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true).custom_flags(GONE_WHEN_CLOSED).share_mode(0).open(path)
}

/// Reads as much as fits from a place in a file.
///
/// # Errors
/// What the system says.
pub fn read_at(file: &File, to: &mut [u8], offset: u64) -> io::Result<usize> {
    file.seek_read(to, offset)
}

/// A file's mode, for where it goes: whether it can be executed is not known here, so it may, as docker has it.
#[must_use]
pub fn mode(_: &Metadata) -> u32 {
    0o755
}

/// Files have no mode here.
///
/// # Errors
/// None here.
pub fn set_mode(_: &File, _: u32) -> io::Result<()> {
    Ok(())
}

/// Nor have folders; and their times are left as they are.
///
/// # Errors
/// None here.
pub fn set_folder(_: &Path, _: u32, _: Option<SystemTime>) -> io::Result<()> {
    Ok(())
}

/// Whether what is written there goes to a device or to another program: such have no place among files.
#[must_use]
pub fn leads_elsewhere(_: FileType) -> bool {
    false
}

/// Whether it failed because too many files are open.
#[must_use]
pub fn too_many_open(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| TOO_MANY.contains(&code))
}

/// The system's own folder for OpenSSH.
#[must_use]
pub fn of_ssh() -> PathBuf {
    std::env::var_os("ProgramData").map_or_else(|| PathBuf::from(r"C:\ProgramData"), PathBuf::from).join("ssh")
}

/// What the user is called, where that is said.
#[must_use]
pub fn user() -> Option<String> {
    std::env::var("USERNAME").ok()
}
