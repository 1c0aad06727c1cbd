//! What is at a path of a node, asked before anything is sent.

use super::There;
use crate::cli::{failure::Failure, shell};

/// What is at the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory, or a link to one.
    Directory,
    /// A file, or a link to one.
    File,
    /// A device, a pipe or a socket.
    Special,
    /// Nothing, and the directory it would be in is there.
    Absent,
    /// Nothing, and no such directory either.
    Nowhere,
}

/// What a node says about a path.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// What is there.
    pub kind: Kind,
    /// How much data that is, where it could be told soon.
    pub bytes: Option<u64>,
    /// The path without links; as it was given where nothing is there.
    pub path: String,
}

/// Looks at the path, and for tar.
pub async fn look(there: &There) -> Result<Found, Failure> {
    let output = there.host.exec(&script(&there.path), None).await.map_err(|e| there.failure(e))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.trim() == "no-tar" {
        return Err(there
            .failure("there is no tar, which cp needs on the node")
            .help("install it there: apt-get install tar, or dnf install tar"));
    }
    read(&text).ok_or_else(|| there.failure(format_args!("{}: {}", there.path, output.complaint())))
}

fn script(path: &str) -> String {
    format!(
        "command -v tar >/dev/null 2>&1 || {{ echo no-tar; exit 0; }}\n\
         p={}\n\
         if [ -d \"$p\" ]; then kind=directory; elif [ -f \"$p\" ]; then kind=file\n\
         elif [ -e \"$p\" ]; then kind=special; elif [ -d \"$(dirname -- \"$p\")\" ]; then kind=absent\n\
         else kind=nowhere; fi\n\
         bytes=\n\
         case $kind in directory | file) bytes=$(timeout 2 du -sbL -- \"$p\" 2>/dev/null | cut -f1) ;; esac\n\
         echo \"$kind ${{bytes:--}}\"\n\
         case $kind in absent | nowhere) printf '%s' \"$p\" ;; *) readlink -f -- \"$p\" ;; esac",
        shell::quoted(path)
    )
}

fn read(text: &str) -> Option<Found> {
    let (first, path) = text.split_once('\n')?;
    let (kind, bytes) = first.split_once(' ')?;
    let kind = match kind {
        "directory" => Kind::Directory,
        "file" => Kind::File,
        "special" => Kind::Special,
        "absent" => Kind::Absent,
        "nowhere" => Kind::Nowhere,
        _ => return None,
    };
    let path = path.strip_suffix('\n').unwrap_or(path).to_owned();
    Some(Found { kind, bytes: bytes.parse().ok(), path })
}

// A shell of unix is asked.
#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn looked(path: &str) -> Found {
        let output = std::process::Command::new("sh").args(["-c", &script(path)]).output().unwrap();
        read(&String::from_utf8(output.stdout).unwrap()).unwrap()
    }

    #[test]
    fn a_shell_tells_what_is_at_a_path() {
        let folder = std::env::temp_dir().join(format!("testkit-probe-{}", std::process::id()));
        let name = |n: &str| folder.join(n).to_str().unwrap().to_owned();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("it's a file"), "12345").unwrap();
        std::os::unix::fs::symlink("it's a file", folder.join("link")).unwrap();
        let file = looked(&name("link"));
        assert_eq!((file.kind, file.bytes), (Kind::File, Some(5)));
        assert!(file.path.ends_with("/it's a file"), "{file:?}");
        for (path, kind) in [
            (name(""), Kind::Directory),
            (name("."), Kind::Directory),
            (name("absent"), Kind::Absent),
            (name("no/where"), Kind::Nowhere),
            ("/dev/null".to_owned(), Kind::Special),
            ("-n".to_owned(), Kind::Absent),
        ] {
            assert_eq!(looked(&path).kind, kind, "{path}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
