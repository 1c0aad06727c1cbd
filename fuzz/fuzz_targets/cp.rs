//! An archive that a node sends to `cp`: whatever names and links are in it, nothing is changed outside of the folder it is
//! unpacked into.
#![no_main]

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use tar::{EntryType, Header};
use testkit_fuzz::{
    cli::verbs::cp::pack::{unpack, unpack_file},
    pieces::Pieces,
};

/// What paths are made of.
const PARTS: [&str; 12] = ["a", "b", "..", ".", "/", "outside", "kept", "a/b", "../outside", "", "./", "\u{fffd}"];

#[derive(Arbitrary, Debug)]
struct Sent {
    entries: Vec<Entry>,
    raw: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
struct Entry {
    kind: u8,
    name: Vec<u8>,
    link: Vec<u8>,
    mode: u16,
    content: u8,
}

fn path(parts: &[u8], root: &Path) -> Vec<u8> {
    let absolute = parts.first().is_some_and(|first| first % 16 == 15);
    let words: Vec<&str> = parts.iter().take(5).map(|part| PARTS[usize::from(*part) % PARTS.len()]).collect();
    let relative = words.join("/");
    if absolute { format!("{}/{relative}", root.display()).into_bytes() } else { relative.into_bytes() }
}

impl Entry {
    fn write(&self, root: &Path, to: &mut Vec<u8>) {
        let kinds = [
            EntryType::Regular,
            EntryType::Directory,
            EntryType::Symlink,
            EntryType::Link,
            EntryType::Fifo,
            EntryType::Continuous,
            EntryType::GNUSparse,
            EntryType::Char,
            EntryType::XHeader,
            EntryType::GNULongName,
            EntryType::GNULongLink,
        ];
        let kind = kinds[usize::from(self.kind) % kinds.len()];
        let mut header = Header::new_gnu();
        let (name, link) = (path(&self.name, root), path(&self.link, root));
        let gnu = header.as_gnu_mut().expect("one of GNU's");
        gnu.name[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        gnu.linkname[..link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
        // Who unpacks it may look into it, and take it away.
        header.set_mode(u32::from(self.mode) | 0o700);
        header.set_entry_type(kind);
        let content = match kind {
            EntryType::XHeader => {
                let record = format!(" path={}\n", String::from_utf8_lossy(&name));
                format!("{}{record}", record.len() + 2).into_bytes()
            }
            EntryType::GNULongName => name,
            EntryType::GNULongLink => link,
            EntryType::Regular | EntryType::Continuous => vec![b'x'; usize::from(self.content)],
            _ => Vec::new(),
        };
        header.set_size(content.len() as u64);
        header.set_mtime(1);
        header.set_cksum();
        to.extend_from_slice(header.as_bytes());
        to.extend_from_slice(&content);
        to.resize(to.len().next_multiple_of(512), 0);
    }
}

fuzz_target!(|sent: Sent| {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder");
    let (root, into) = (place.path(), place.path().join("into"));
    let kept = root.join("outside/kept");
    fs::create_dir(&into).expect("a folder");
    fs::create_dir(root.join("outside")).expect("a folder");
    fs::write(&kept, "as it was").expect("a file");
    let mode =
        |path: &Path| fs::metadata(path).map(|m| (m.permissions().mode(), m.modified().ok())).expect("it is there");
    let before = [mode(&kept), mode(&root.join("outside"))];

    let mut archive = Vec::new();
    sent.entries.iter().take(8).for_each(|entry| entry.write(root, &mut archive));
    archive.extend_from_slice(&sent.raw);
    // What is refused is refused.
    let _ = unpack(Pieces::of(&archive), &into);
    let _ = unpack_file(Pieces::of(&archive), &into.join("one-file"));

    assert_eq!(fs::read(&kept).expect("it is there"), b"as it was", "{sent:?}");
    assert_eq!([mode(&kept), mode(&root.join("outside"))], before, "{sent:?}");
    let mut beside: Vec<_> = fs::read_dir(root).expect("it is there").flatten().map(|e| e.file_name()).collect();
    beside.sort();
    assert_eq!(beside, ["into", "outside"], "{sent:?}");
});
