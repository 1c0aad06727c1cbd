use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("testkit-pack-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::set_permissions(&self.0, fs::Permissions::from_mode(0o700));
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_directory_comes_back_as_it_was() {
    let (from, to) = (Folder::new("from"), Folder::new("to"));
    let long = "x".repeat(120);
    fs::create_dir_all(from.0.join("sub").join(&long)).unwrap();
    fs::write(from.0.join("sub").join(&long).join("deep"), "deep").unwrap();
    fs::write(from.0.join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(from.0.join("run.sh"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(from.0.join("sub"), fs::Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(&from.0, fs::Permissions::from_mode(0o750)).unwrap();
    File::open(from.0.join("run.sh"))
        .unwrap()
        .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000))
        .unwrap();
    symlink("run.sh", from.0.join("link")).unwrap();
    symlink("/nowhere", from.0.join("dangling")).unwrap();
    rustix_fifo(&from.0.join("pipe"));

    let mut bytes = Vec::new();
    let packed = pack(&from.0, Path::new("."), None, &mut bytes).unwrap();
    assert_eq!((packed.files, packed.bytes, packed.left_out), (2, 14, vec![from.0.join("pipe")]));
    assert_eq!(weigh(&from.0), 14);
    let unpacked = unpack(bytes.as_slice(), &to.0).unwrap();
    assert_eq!((unpacked.files, unpacked.bytes), (2, 14));
    assert_eq!(fs::read_to_string(to.0.join("sub").join(&long).join("deep")).unwrap(), "deep");
    assert_eq!([mode(&to.0.join("run.sh")), mode(&to.0.join("sub")), mode(&to.0)], [0o4751, 0o555, 0o750]);
    assert_eq!(fs::metadata(to.0.join("run.sh")).unwrap().mtime(), 1_000_000_000);
    assert_eq!(fs::read_link(to.0.join("dangling")).unwrap(), Path::new("/nowhere"));
    // Once more over what is there now.
    unpack(bytes.as_slice(), &to.0).unwrap();
}

fn rustix_fifo(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// An archive as nobody's tar would make it.
fn malicious(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, content) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        let data = if *kind == EntryType::Regular { content.as_bytes() } else { &[] };
        header.set_size(data.len() as u64);
        if *kind != EntryType::Regular && !content.is_empty() {
            header.set_link_name_literal(content).unwrap();
        }
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn nothing_lands_outside_whatever_an_archive_says() {
    let outside = Folder::new("outside");
    let out = outside.0.to_str().unwrap();
    use EntryType::{Directory, Link, Regular, Symlink};
    let attacks: [&[(EntryType, &str, &str)]; 7] = [
        &[(Regular, "../testkit-pack-escaped", "x")],
        &[(Regular, "a/../../testkit-pack-escaped", "x")],
        &[(Symlink, "way", out), (Regular, "way/escaped", "x")],
        &[(Symlink, "way", out), (Directory, "way/escaped", "")],
        &[(Symlink, "way", ".."), (Regular, "way/testkit-pack-escaped", "x")],
        &[(Link, "hard", "/etc/passwd"), (Regular, "hard", "x")],
        &[(Link, "hard", "../../etc/passwd")],
    ];
    for (number, attack) in attacks.into_iter().enumerate() {
        let into = Folder::new(&format!("attacked-{number}"));
        let result = unpack(malicious(attack).as_slice(), &into.0);
        assert!(result.is_err(), "{attack:?}: {result:?}");
        assert_eq!(fs::read_dir(&outside.0).unwrap().count(), 0, "{attack:?}");
        assert!(!std::env::temp_dir().join("testkit-pack-escaped").exists(), "{attack:?}");
    }
    // What a kernel has behind a name is nobody's to bring.
    let (into, no) = (Folder::new("devices"), "");
    let devices = [(EntryType::Block, "disk", no), (EntryType::Char, "null", no), (EntryType::Fifo, "pipe", no)];
    let unpacked = unpack(malicious(&devices).as_slice(), &into.0).unwrap();
    assert_eq!((unpacked.files, unpacked.left_out.len()), (0, 3));
    assert_eq!(fs::read_dir(&into.0).unwrap().count(), 0);
    // An absolute name is one within the directory.
    let into = Folder::new("absolute");
    unpack(malicious(&[(Regular, "/etc/motd", "x")]).as_slice(), &into.0).unwrap();
    assert_eq!(fs::read_to_string(into.0.join("etc/motd")).unwrap(), "x");
}

#[test]
fn a_time_that_no_clock_shows_is_left_out() {
    let to = Folder::new("times");
    let mut header = Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o600);
    header.set_mtime(u64::MAX);
    let mut root = header.clone();
    root.set_entry_type(EntryType::Directory);
    root.set_size(0);
    root.set_mode(0o700);
    let archive = |name: &str, mut header: Header, content: &[u8]| {
        let mut builder = Builder::new(Vec::new());
        builder.append_data(&mut header, name, content).unwrap();
        builder.into_inner().unwrap()
    };
    assert_eq!(unpack_file(archive("file", header, b"x").as_slice(), &to.0.join("file")).unwrap().bytes, 1);
    unpack(archive(".", root, b"").as_slice(), &to.0).unwrap();
    assert_eq!(fs::read(to.0.join("file")).unwrap(), b"x");
}

#[test]
fn an_archive_that_breaks_off_is_an_error() {
    let from = Folder::new("broken-from");
    fs::write(from.0.join("file"), vec![7; 100_000]).unwrap();
    let mut bytes = Vec::new();
    pack(&from.0.join("file"), Path::new("file"), None, &mut bytes).unwrap();
    let to = from.0.join("copy");
    assert!(unpack_file(&bytes[..50_000], &to).unwrap_err().to_string().contains("breaks off"));
    let _ = fs::remove_file(&to);
    assert_eq!(unpack_file(bytes.as_slice(), &to).unwrap().bytes, 100_000);
    assert_eq!(fs::read(&to).unwrap(), vec![7; 100_000]);
    // Between two files, where the library takes it for a whole one.
    assert!(
        unpack(&malicious(&[(EntryType::Regular, "a", "x"), (EntryType::Regular, "b", "x")])[..1024], &from.0).is_err()
    );
    assert!(unpack_file(&[0; 1024][..], &from.0.join("none")).unwrap_err().to_string().contains("empty"));
}
