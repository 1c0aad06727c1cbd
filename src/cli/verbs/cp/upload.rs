//! From here to a node.
//!
//! What is new there is unpacked beside its place and moved when it is whole: a copy that breaks
//! off leaves nothing. What goes into a directory that is there stays as far as it came.

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    thread,
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{
    Place, There, pack, pipe,
    probe::{self, Found, Kind},
};
use crate::{
    cli::{
        Context,
        failure::Failure,
        shell,
        terminal::{counted, person, size},
    },
    host::{Said, Session, SessionInput},
};

/// What is carried to the node.
#[derive(Debug)]
pub enum Load {
    /// A tar archive on standard input.
    Stream,
    /// A file.
    File(PathBuf),
    /// A directory; whether only what is in it.
    Directory(PathBuf, bool),
}

impl Load {
    /// Looks whether it is there.
    pub fn of(source: &Place<'_>) -> Result<Self, Failure> {
        let Place::Here(path) = source else {
            return match io::stdin().is_terminal() {
                false => Ok(Self::Stream),
                true => Err(Failure::new("standard input is a terminal, and a tar archive is wanted there")
                    .help("tar -c DIR | kubectl testkit cp - NAME:PATH")),
            };
        };
        let shown = path.display();
        let metadata = std::fs::metadata(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Failure::new(format!("there is no file or directory {shown}")),
            _ => Failure::new(format!("{shown} cannot be read: {e}")),
        })?;
        if metadata.is_dir() {
            let text = path.as_os_str().as_encoded_bytes();
            Ok(Self::Directory(path.clone(), text == b"." || text.ends_with(b"/.")))
        } else if metadata.is_file() {
            Ok(Self::File(path.clone()))
        } else {
            Err(Failure::new(format!("{shown} is neither a file nor a directory"))
                .help("a tar archive on standard input can be copied: kubectl testkit cp - NAME:PATH"))
        }
    }
}

/// Copies the load to the path.
pub async fn run(context: &Context, there: &There, load: Load) -> Result<(), Failure> {
    let found = probe::look(there).await?;
    let Plan { command, source, end } = plan(there, &found, load)?;
    let mut task = context.printer.task(format!("{}:{}", there.node, there.path));
    let (session, input) = there.host.session(Some(&command), None).await.map_err(|e| there.failure(e))?;
    let Some((path, name)) = source else {
        task.say("unpacking standard input there");
        transfer(there, session, &input, person::input(false), |_| {}).await?;
        let took = task.elapsed();
        task.done(&format!("unpacked there in {took}"));
        return Ok(());
    };
    let weighed = path.clone();
    if let Ok(bytes) = tokio::task::spawn_blocking(move || pack::weigh(&weighed)).await {
        task.bytes(bytes);
    }
    let (writer, mut pieces) = pipe::out_of_thread();
    let (finished, result) = oneshot::channel();
    // What the thread says when it fails must not look like an archive that ends.
    let (sender, receiver) = mpsc::channel(1);
    thread::spawn(move || {
        let _ = finished.send(pack::pack(&path, &name, end, writer));
    });
    let relay = async move {
        while let Some(piece) = pieces.recv().await {
            if sender.send(Ok(piece)).await.is_err() {
                return None;
            }
        }
        match result.await.unwrap_or_else(|_| Err(io::Error::other("packing ended early"))) {
            Ok(copied) => Some(copied),
            Err(e) => {
                let _ = sender.send(Err(e)).await;
                None
            }
        }
    };
    let (copied, sent) = tokio::join!(relay, transfer(there, session, &input, receiver, task.counter()));
    sent?;
    let copied = copied.unwrap_or_default();
    for path in &copied.left_out {
        context.printer.warn(format_args!("left out: {}, which is neither file, directory nor link", path.display()));
    }
    let took = task.elapsed();
    task.done(&format!("copied there, {}, {} in {took}", counted(copied.files, "file"), size(copied.bytes)));
    Ok(())
}

/// Sends the pieces to the host's tar, and waits for its end.
async fn transfer(
    there: &There,
    mut session: Session,
    input: &SessionInput,
    mut pieces: mpsc::Receiver<io::Result<Bytes>>,
    count: impl Fn(u64),
) -> Result<(), Failure> {
    let send = async {
        while let Some(piece) = pieces.recv().await {
            let piece = piece.map_err(|e| Failure::new(e.to_string()))?;
            let length = piece.len() as u64;
            input.write(piece).await;
            count(length);
        }
        input.end().await;
        std::future::pending::<Result<(), Failure>>().await
    };
    let listen = async {
        let mut complaints = Vec::new();
        while let Some(said) = session.next().await.map_err(|e| there.failure(e))? {
            match said {
                Said::Err(bytes) if complaints.len() < 64 * 1024 => complaints.extend_from_slice(&bytes),
                Said::Ended(Some(0)) => return Ok(()),
                Said::Ended(status) => return Err(there.complained(status, &complaints)),
                Said::Out(_) | Said::Err(_) => {}
            }
        }
        Err(there.complained(None, &complaints))
    };
    tokio::select! {
        sent = send => sent,
        ended = listen => ended,
    }
}

/// The last entry of an archive that is moved into place: tar alone takes one that breaks off
/// between two files for a whole one.
const WHOLE: &str = ".testkit-whole";

/// What the host runs, and what is packed for it under which name; nothing is packed for a stream.
#[derive(Debug)]
struct Plan {
    command: String,
    source: Option<(PathBuf, PathBuf)>,
    /// An empty file to pack last.
    end: Option<&'static str>,
}

fn plan(there: &There, found: &Found, load: Load) -> Result<Plan, Failure> {
    let path = &found.path;
    let (source, is_directory, content) = match load {
        Load::Stream if found.kind == Kind::Directory => {
            return Ok(Plan { command: into(path), source: None, end: None });
        }
        Load::Stream => {
            return Err(there.no_directory(path));
        }
        Load::File(source) => (source, false, false),
        Load::Directory(source, content) => (source, true, content),
    };
    match found.kind {
        Kind::Nowhere => {
            return Err(there.no_directory(&parent(path)));
        }
        Kind::Special => {
            return Err(there.failure(format_args!("{path:?} is neither a file nor a directory")));
        }
        Kind::File if is_directory => {
            return Err(there.failure(format_args!("{path:?} is a file, and {} is a directory", source.display())));
        }
        Kind::Absent if !is_directory && path.ends_with('/') => {
            return Err(there.no_directory(path));
        }
        Kind::Directory if content => {
            return Ok(Plan { command: into(path), source: Some((source, PathBuf::new())), end: None });
        }
        Kind::Directory => {
            // A directory's own name is not told by `.` or `..`.
            let real = source.canonicalize().unwrap_or_else(|_| source.clone());
            let name = source.file_name().or_else(|| real.file_name()).map(PathBuf::from).unwrap_or_default();
            return Ok(Plan { command: into(path), source: Some((source, name)), end: None });
        }
        Kind::File | Kind::Absent => {}
    }
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let command = in_place(&parent(path), name);
    Ok(Plan { command, source: Some((source, Path::new(name).to_owned())), end: Some(WHOLE) })
}

/// Unpacks into a directory that is there.
fn into(directory: &str) -> String {
    format!("cd -- {} && exec tar -xpof -", shell::quoted(directory))
}

/// Unpacks what has this name beside its place, and moves it there when it is whole.
fn in_place(directory: &str, name: &str) -> String {
    format!(
        "cd -- {} && t=./.testkit-cp.$$ && mkdir -m 700 \"$t\" || exit 2\n\
         trap 'rm -rf \"$t\"' EXIT; trap 'exit 2' HUP INT TERM PIPE\n\
         tar -xpof - -C \"$t\" && [ -e \"$t\"/{WHOLE} ] && mv -f -- \"$t\"/{name} ./{name}",
        shell::quoted(directory),
        name = shell::quoted(name),
    )
}

fn parent(path: &str) -> String {
    match path.trim_end_matches('/').rsplit_once('/') {
        Some(("", _)) => "/".to_owned(),
        Some((parent, _)) => parent.to_owned(),
        None => ".".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use super::*;

    fn run(command: &str, input: &[u8]) -> bool {
        let mut shell =
            Command::new("sh").args(["-c", command]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let _ = shell.stdin.take().unwrap().write_all(input);
        shell.wait().unwrap().success()
    }

    #[test]
    fn a_file_takes_its_place_only_when_it_is_whole() {
        let folder = std::env::temp_dir().join(format!("testkit-in-place-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (source, place) = (folder.join("source"), folder.join("it's here"));
        std::fs::write(&source, vec![1; 50_000]).unwrap();
        std::fs::write(&place, "before").unwrap();
        let mut archive = Vec::new();
        pack::pack(&source, Path::new("it's here"), Some(WHOLE), &mut archive).unwrap();
        let mut cut = Vec::new();
        pack::pack(&source, Path::new("it's here"), None, &mut cut).unwrap();
        let command = in_place(folder.to_str().unwrap(), "it's here");
        for broken in [&archive[..20_000], &cut] {
            assert!(!run(&command, broken));
        }
        assert_eq!(std::fs::read(&place).unwrap(), b"before");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "nothing is left beside it");
        assert!(run(&command, &archive));
        assert_eq!(std::fs::read(&place).unwrap(), vec![1; 50_000]);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_path_has_a_parent() {
        for (path, expected) in [("/srv/x", "/srv"), ("/srv/x/", "/srv"), ("/x", "/"), ("x", ".")] {
            assert_eq!(parent(path), expected, "{path}");
        }
    }
}
