//! `ssh -G`: what it says in time, or why it does not.

use std::{
    io,
    pin::pin,
    process::{Output, Stdio},
    time::Duration,
};

use tokio::{process::Command, time::timeout};

use crate::platform::process::Group;

/// How long `ssh -G` may take: it runs what `Match exec` has, and looks names up where it is told to.
const ASKED_WITHIN: Duration = Duration::from_secs(5);

/// What `ssh -G` says; nothing where there is no `ssh`. Where it does not tell: why.
pub async fn ask(host: &str, user: Option<&str>, port: Option<u16>) -> Result<Option<String>, String> {
    let mut command = Command::new("ssh");
    command.arg("-G");
    if let Some(user) = user {
        command.args(["-l", user]);
    }
    if let Some(port) = port {
        command.args(["-p", &port.to_string()]);
    }
    // What begins with a dash must not be an option.
    command.args(["--", host]).stdin(Stdio::null());
    said(within(ASKED_WITHIN, command).await)
}

/// What a command says; `None` where it takes too long: then it ends, and so does what it has begun (as a `Match exec` does). Both
/// also end where whoever asked is gone.
async fn within(limit: Duration, mut command: Command) -> Option<io::Result<Output>> {
    let (child, mut group) = match Group::start(command.stdout(Stdio::piped()).stderr(Stdio::piped())) {
        Ok(started) => started,
        Err(error) => return Some(Err(error)),
    };
    let mut output = pin!(child.wait_with_output());
    let in_time = timeout(limit, &mut output).await.ok();
    if in_time.is_some() {
        group.ended();
    }
    in_time
}

/// What became of asking; `None` where it took too long.
fn said(output: Option<io::Result<Output>>) -> Result<Option<String>, String> {
    match output {
        Some(Ok(output)) if output.status.success() => Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned())),
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Some(Ok(output)) => {
            let complaint = String::from_utf8_lossy(&output.stderr);
            let lines: Vec<&str> = complaint.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            Err(if lines.is_empty() { format!("it ended with {}", output.status) } else { lines.join("; ") })
        }
        Some(Err(error)) => Err(error.to_string()),
        None => Err(format!("it took longer than {} s", ASKED_WITHIN.as_secs())),
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn an_ssh_that_does_not_tell_is_an_error_and_none_is_not() {
        let ended = |code: i32, stderr: &str| {
            let status = std::os::unix::process::ExitStatusExt::from_raw(code << 8);
            Some(Ok(Output { status, stdout: b"port 22\n".to_vec(), stderr: stderr.into() }))
        };
        assert_eq!(said(ended(0, "")), Ok(Some("port 22\n".to_owned())));
        assert_eq!(said(Some(Err(io::ErrorKind::NotFound.into()))), Ok(None));
        for (output, words) in [
            (ended(255, "line 3: Bad option: Foo\r\nterminating\n"), "line 3: Bad option: Foo; terminating"),
            (ended(1, ""), "it ended with exit status: 1"),
            (None, "it took longer than 5 s"),
        ] {
            assert_eq!(said(output), Err(words.to_owned()));
        }
    }

    #[tokio::test]
    async fn what_takes_too_long_ends_with_all_that_it_has_begun() {
        let sh = |script: &str, stdin: Stdio| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdin(stdin);
            command
        };
        let told = within(Duration::from_secs(60), sh("echo told; echo why >&2; exit 3", Stdio::null())).await;
        let told = told.unwrap().unwrap();
        assert_eq!((told.status.code(), &*told.stdout, &*told.stderr), (Some(3), &b"told\n"[..], &b"why\n"[..]));
        let missing = within(Duration::from_secs(60), Command::new("/nonexistent/ssh")).await;
        assert_eq!(missing.unwrap().unwrap_err().kind(), io::ErrorKind::NotFound);

        // What it has begun holds the other end of a pipe for as long as it lives.
        let (writes, mut reads) = tokio::net::unix::pipe::pipe().unwrap();
        let hangs = sh("exec 3<&0; sleep 1000 & wait", writes.into_blocking_fd().unwrap().into());
        assert!(within(Duration::from_millis(300), hangs).await.is_none());
        let end = timeout(Duration::from_secs(20), tokio::io::AsyncReadExt::read(&mut reads, &mut [0])).await;
        assert_eq!(end.expect("something lives on").unwrap(), 0);
    }
}
