//! From a node to here.
//!
//! What is new here appears when it is whole: until then it has another name, and is gone when
//! the copy does not come to its end. What goes into a directory that is here already stays
//! as far as it came.

use std::{
    fs, io,
    io::IsTerminal,
    path::{Path, PathBuf, is_separator},
    thread,
};

use tokio::sync::oneshot;

use super::{
    Place, There,
    pack::{self, Copied},
    pipe,
    probe::{self, Found, Kind},
};
use crate::{
    cli::{
        Context,
        failure::Failure,
        shell,
        terminal::{counted, size},
    },
    host::{Said, Session},
    platform::files::leads_elsewhere,
};

/// How much of what tar complains about is kept.
const COMPLAINTS: usize = 64 * 1024;

/// Copies what is there to the target.
pub async fn run(context: &Context, there: &There, target: &Place<'_>) -> Result<(), Failure> {
    if *target == Place::Stream && io::stdout().is_terminal() {
        return Err(Failure::new("a tar archive is nothing for a terminal")
            .help("write it to a file or a program: kubectl testkit cp … - > FILE.tar"));
    }
    let found = probe::look(there).await?;
    match found.kind {
        Kind::Absent | Kind::Nowhere => {
            return Err(there.failure(format_args!("there is no file or directory {:?}", found.path)));
        }
        Kind::Special => {
            return Err(there.failure(format_args!("{:?} is neither a file nor a directory", found.path)));
        }
        Kind::File | Kind::Directory => {}
    }
    match target {
        Place::Here(path) => to_files(context, there, &found, path).await,
        _ => to_stream(context, there, &found).await,
    }
}

async fn to_stream(context: &Context, there: &There, found: &Found) -> Result<(), Failure> {
    let (parent, base) = parts(&found.path);
    // As docker cp names it: by what it is called, or by nothing for what is in it.
    let command = match wants_content(&there.path) && found.kind == Kind::Directory {
        true => tar(&found.path, "."),
        false => tar(parent, base),
    };
    let mut session = open(there, &command).await?;
    let mut complaints = Vec::new();
    loop {
        match session.next().await.map_err(|e| there.failure(e))? {
            Some(Said::Out(bytes)) => context.printer.bytes(&bytes)?,
            Some(Said::Err(bytes)) => keep(&mut complaints, &bytes),
            Some(Said::Ended(status)) => return verdict(context, there, status, &complaints),
            None => return Ok(()),
        }
    }
}

async fn to_files(context: &Context, there: &There, found: &Found, target: &Path) -> Result<(), Failure> {
    let landing = Landing::choose(found, target, wants_content(&there.path))?;
    let (parent, base) = parts(&found.path);
    let command = match landing.whole {
        Whole::File => tar(parent, base),
        Whole::Directory | Whole::Merged => tar(&found.path, "."),
    };
    let mut task = context.printer.task(format!("{}:{}", there.node, there.path));
    match found.bytes {
        Some(bytes) => task.bytes(bytes),
        None => task.say("receiving"),
    }
    let count = task.counter();
    let mut session = open(there, &command).await?;

    let (sender, reader) = pipe::into_thread();
    let (finished, result) = oneshot::channel();
    let (whole, path) = (landing.whole, landing.path.clone());
    thread::spawn(move || {
        let unpacked = match whole {
            Whole::File => pack::unpack_file(reader, &path),
            Whole::Directory => fs::create_dir(&path).and_then(|()| pack::unpack(reader, &path)),
            Whole::Merged => pack::unpack(reader, &path),
        };
        // Nobody waits for it once the copy was given up.
        let _ = finished.send(unpacked);
    });
    let mut complaints = Vec::new();
    let mut status = None;
    while let Some(said) = session.next().await.map_err(|e| there.failure(e))? {
        match said {
            Said::Out(bytes) => {
                count(bytes.len() as u64);
                // The thread has failed, and will say why.
                if sender.send(bytes).await.is_err() {
                    break;
                }
            }
            Said::Err(bytes) => keep(&mut complaints, &bytes),
            Said::Ended(ended) => status = Some(ended),
        }
    }
    drop(sender);
    let unpacked = result.await.unwrap_or_else(|_| Err(io::Error::other("it ended early")));
    // A tar that failed explains an archive that breaks off.
    if let Some(status) = status {
        verdict(context, there, status, &complaints)?;
    }
    let copied = unpacked.map_err(|e| Failure::new(format!("{}: {e}", landing.target.display())))?;
    let target = landing.target.clone();
    landing.complete()?;
    let Copied { files, bytes, left_out } = copied;
    for path in left_out {
        context.printer.warn(format_args!("left out: {}, which is neither file, directory nor link", path.display()));
    }
    let took = task.elapsed();
    task.done(&format!("copied to {}, {}, {} in {took}", target.display(), counted(files, "file"), size(bytes)));
    Ok(())
}

/// How what comes becomes what shall be here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    /// A file, new or in place of another.
    File,
    /// A directory that is not here yet.
    Directory,
    /// Into a directory that is here.
    Merged,
}

/// Where it is put, and where it shall be. Dropped before it is complete, it takes away what it put.
#[derive(Debug)]
struct Landing {
    whole: Whole,
    /// Where it is put first.
    path: PathBuf,
    /// Where it shall be.
    target: PathBuf,
    complete: bool,
}

impl Landing {
    fn choose(found: &Found, target: &Path, content: bool) -> Result<Self, Failure> {
        let name = Path::new(&found.path).file_name();
        let shown = target.display();
        let slash = target.as_os_str().as_encoded_bytes().last().is_some_and(|last| is_separator(char::from(*last)));
        let target = match (target.is_dir(), name) {
            (true, Some(name)) if found.kind == Kind::File || !content => target.join(name),
            (true, _) => target.to_owned(),
            (false, _) if slash && !target.exists() && found.kind == Kind::File => {
                return Err(Failure::new(format!("there is no directory {shown}")).help(format!("mkdir -p {shown}")));
            }
            (false, _) => target.to_owned(),
        };
        // A link is written through, as cp does it.
        let target = target.canonicalize().unwrap_or(target);
        let shown = target.display();
        let here = fs::metadata(&target).ok();
        let whole = match (found.kind, &here) {
            (Kind::Directory, Some(here)) if here.is_dir() => Whole::Merged,
            (Kind::Directory, Some(_)) => {
                return Err(Failure::new(format!("{shown} is a file, and {} on the node is a directory", found.path)));
            }
            (Kind::Directory, None) => Whole::Directory,
            (_, Some(here)) if here.is_dir() => {
                return Err(Failure::new(format!("{shown} is a directory, and {} on the node is a file", found.path)));
            }
            (_, Some(here)) if leads_elsewhere(here.file_type()) => {
                return Err(Failure::new(format!("{shown} is not a file"))
                    .help("kubectl testkit cp NAME:PATH - gives a tar archive to another program"));
            }
            _ => Whole::File,
        };
        if whole == Whole::Merged {
            return Ok(Self { whole, path: target.clone(), target, complete: true });
        }
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if !parent.is_dir() {
            return Err(Failure::new(format!("there is no directory {}", parent.display()))
                .help(format!("mkdir -p {}", parent.display())));
        }
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = parent.join(format!(".{name}.testkit-{}", std::process::id()));
        Ok(Self { whole, path, target, complete: false })
    }

    fn complete(mut self) -> Result<(), Failure> {
        if !self.complete {
            fs::rename(&self.path, &self.target)
                .map_err(|e| Failure::new(format!("{} cannot be put in place: {e}", self.target.display())))?;
            self.complete = true;
        }
        Ok(())
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if !self.complete {
            // The thread that fills it ends when nothing more comes; what it had open goes with this.
            let _ = fs::remove_file(&self.path);
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

async fn open(there: &There, command: &str) -> Result<Session, Failure> {
    let (session, input) = there.host.session(Some(command), None).await.map_err(|e| there.failure(e))?;
    input.end().await;
    Ok(session)
}

/// The command that packs `name` of a directory. Hard links would be refused where both names exist here already.
fn tar(directory: &str, name: &str) -> String {
    format!(
        "cd -- {} || exit 2; h=; tar --hard-dereference --version >/dev/null 2>&1 && h=--hard-dereference; \
         exec tar $h -cf - -- {}",
        shell::quoted(directory),
        shell::quoted(name)
    )
}

/// The directory a path is in, and its name there.
fn parts(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", "")) => ("/", "."),
        Some(("", name)) => ("/", name),
        Some((parent, name)) => (parent, name),
        None => (".", path),
    }
}

/// `DIR/.` is what is in the directory.
fn wants_content(path: &str) -> bool {
    path == "." || path.ends_with("/.") || path.ends_with("/./")
}

fn keep(complaints: &mut Vec<u8>, bytes: &[u8]) {
    let room = COMPLAINTS.saturating_sub(complaints.len());
    complaints.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// What tar's exit code means: 1 is a file that changed while it was read, as logs do.
fn verdict(context: &Context, there: &There, status: Option<u32>, complaints: &[u8]) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(complaints);
    let harmless = |line: &str| {
        ["changed as we read it", "removed before we read it", "socket ignored"]
            .iter()
            .any(|words| line.contains(words))
    };
    if status == Some(0) || (status == Some(1) && !text.trim().is_empty() && text.lines().all(harmless)) {
        for line in text.lines() {
            context.printer.warn(format_args!("{}: {line}", there.node));
        }
        return Ok(());
    }
    Err(there.complained(status, complaints))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_directory_and_a_name() {
        for (path, expected) in
            [("/var/log/x", ("/var/log", "x")), ("/etc", ("/", "etc")), ("/", ("/", ".")), ("x", (".", "x"))]
        {
            assert_eq!(parts(path), expected, "{path}");
        }
    }

    #[test]
    fn it_lands_where_cp_would_put_it() {
        let folder = std::env::temp_dir().join(format!("testkit-landing-{}", std::process::id()));
        fs::create_dir_all(folder.join("dir/log")).unwrap();
        fs::write(folder.join("file"), "").unwrap();
        let found = |kind| Found { kind, bytes: None, path: "/var/log".to_owned() };
        let lands = |kind, to: &str, content| {
            Landing::choose(&found(kind), &folder.join(to), content)
                .map(|l| {
                    (
                        l.whole,
                        l.target
                            .strip_prefix(folder.canonicalize().unwrap())
                            .unwrap_or(&l.target)
                            .display()
                            .to_string(),
                    )
                })
                .map_err(|e| e.to_string())
        };
        assert_eq!(lands(Kind::File, "new", false), Ok((Whole::File, "new".to_owned())));
        assert_eq!(lands(Kind::File, "file", false), Ok((Whole::File, "file".to_owned())));
        assert_eq!(lands(Kind::Directory, "dir", false), Ok((Whole::Merged, "dir/log".to_owned())));
        assert_eq!(lands(Kind::Directory, "dir", true), Ok((Whole::Merged, "dir".to_owned())));
        assert_eq!(lands(Kind::Directory, "new", false), Ok((Whole::Directory, "new".to_owned())));
        for (kind, to, words) in [
            (Kind::File, "new/", "no directory"),
            (Kind::File, "no/where", "no directory"),
            (Kind::File, "dir", "is a directory"),
            (Kind::Directory, "file", "is a file"),
        ] {
            let error = lands(kind, to, false).unwrap_err();
            assert!(error.contains(words), "{to}: {error}");
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
