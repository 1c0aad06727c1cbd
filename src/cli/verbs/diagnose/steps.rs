//! What is asked of a host: commands, each bounded in time and in size. Nothing here changes a host.
//!
//! No command prints what is secret by itself: no `join-token`, no `inspect` of services or
//! containers (environments), no process arguments, no user data.

use std::time::Duration;

use futures::{StreamExt, stream};

use crate::{cli::shell, host::Host};

/// How long a command may take there.
const PATIENCE: u64 = 20;
/// How much of what it writes is kept: the end.
const MOST: usize = 1024 * 1024;
/// How many at once on a host.
const AT_ONCE: usize = 4;

/// A command and the file its output goes to.
pub struct Step {
    /// The file, beside those of the other steps.
    pub file: &'static str,
    command: &'static str,
    managers: bool,
}

/// The engine's log: in systemd's journal (Debian, Ubuntu, Amazon Linux 2 and 2023), or in a file.
const ENGINE_LOG: &str = r#"
if command -v journalctl >/dev/null 2>&1 && journalctl -q --no-pager -n 1 -u docker.service 2>/dev/null | grep -q .
then exec journalctl -q --no-pager -o short-iso -n "${LINES_WANTED:-5000}" -u docker.service
fi
for file in /var/log/docker.log /var/log/docker /var/log/upstart/docker.log
do if [ -f "$file" ]; then exec tail -n "${LINES_WANTED:-5000}" "$file"; fi
done
echo "no log of the engine was found: neither in the journal nor in /var/log/docker.log"
exit 1"#;

/// All of them. What [`super::findings`] reads keeps its name.
static STEPS: [Step; 13] = [
    Step {
        file: "system.txt",
        command: "uname -a; head -n 2 /etc/os-release; uptime; date -u; echo; df -hP 2>/dev/null; echo; df -iP /; echo; \
                  free -m; echo; ip -br address; echo; systemctl --failed --no-pager 2>/dev/null; \
                  ps -eo pid,ppid,stat,pcpu,rss,etime,comm --sort=-rss | head -n 40",
        managers: false,
    },
    Step { file: "clock.txt", command: "date +%s", managers: false },
    Step { file: "disks.txt", command: "df -P / /var/lib/docker 2>/dev/null | tail -n +2 | sort -u", managers: false },
    Step { file: "docker-info.txt", command: "docker info", managers: false },
    Step { file: "docker-ps.txt", command: "docker ps -a", managers: false },
    Step { file: "docker-images.txt", command: "docker images", managers: false },
    Step { file: "docker-node-ls.txt", command: "docker node ls", managers: true },
    Step { file: "docker-service-ls.txt", command: "docker service ls", managers: true },
    Step {
        file: "docker-service-ps.txt",
        command: "ids=$(docker service ls -q) || exit; [ -z \"$ids\" ] || docker service ps --no-trunc $ids",
        managers: true,
    },
    Step { file: "engine.log", command: ENGINE_LOG, managers: false },
    Step {
        file: "containerd.log",
        command: "if [ -f /var/log/containerd.log ]; then exec tail -n 2000 /var/log/containerd.log; fi\n\
                  exec journalctl -q --no-pager -o short-iso -n 2000 -u containerd.service",
        managers: false,
    },
    Step {
        file: "kernel.log",
        command: "if command -v journalctl >/dev/null 2>&1 && journalctl -q --no-pager -k -n 1 2>/dev/null | grep -q .\n\
                  then exec journalctl -q --no-pager -o short-iso -k -n 3000\n\
                  fi\n\
                  dmesg -T 2>/dev/null || dmesg",
        managers: false,
    },
    Step {
        file: "cloud-init.log",
        command: "for file in /var/log/cloud-init-output.log /var/log/cloud-init.log\n\
                  do if [ -f \"$file\" ]; then echo \"==> $file\"; tail -c 400000 \"$file\"; fi; done",
        managers: false,
    },
];

/// What a step gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The step's file.
    pub file: &'static str,
    /// What was written, with a line about how it ended where that was not well.
    pub text: String,
    /// Whether the command succeeded.
    pub well: bool,
    /// Between which seconds it was done, by our clock.
    pub between: (i64, i64),
}

/// Does all steps that fit the host's role.
pub async fn take(host: &Host, manager: bool) -> Vec<Output> {
    let steps = STEPS.iter().filter(|step| manager || !step.managers);
    let mut outputs: Vec<Output> = stream::iter(steps)
        .map(async |step| run(host, step.file, step.command, PATIENCE).await)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    outputs.sort_by_key(|output| output.file);
    outputs
}

/// The last lines of the engine's log.
pub async fn engine_log(host: &Host, lines: usize) -> Output {
    run(host, "engine.log", &format!("LINES_WANTED={lines}\n{ENGINE_LOG}"), 5).await
}

async fn run(host: &Host, file: &'static str, command: &str, seconds: u64) -> Output {
    // The host ends what takes too long; a host that does not even do that is given up a little later.
    let command = bounded(command, seconds);
    let asked = tokio::time::timeout(Duration::from_secs(seconds + 10), host.exec(&command, None));
    let began = jiff::Timestamp::now().as_second();
    let text = match asked.await {
        Err(_) => format!("[testkit: no answer within {} s]\n", seconds + 10),
        Ok(Err(e)) => format!("[testkit: {e}]\n"),
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).into_owned(),
    };
    let well = !text.lines().last().is_some_and(|line| line.starts_with("[testkit: "));
    Output { file, text, well, between: (began, jiff::Timestamp::now().as_second()) }
}

/// The command with its bounds; it says as its last line when it did not end well.
fn bounded(command: &str, seconds: u64) -> String {
    format!(
        "{{ LC_ALL=C timeout -k 2 {seconds} sh -c {} 2>&1 </dev/null; code=$?\n\
         case $code in 0) ;; 124 | 137) printf '\\n[testkit: it did not end within {seconds} s]\\n' ;;\n\
         *) printf '\\n[testkit: it ended with exit code %s]\\n' $code ;; esac; }} | tail -c {MOST}",
        shell::quoted(command)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(command: &str, seconds: u64) -> String {
        let output = std::process::Command::new("sh").args(["-c", &bounded(command, seconds)]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[test]
    fn a_command_is_bounded_and_says_how_it_ended() {
        assert_eq!(shell("echo it\\'s well; echo oh >&2", 5), "it's well\noh\n");
        assert!(shell("echo a; exit 3", 5).ends_with("\n[testkit: it ended with exit code 3]\n"));
        assert!(shell("echo a; exec sleep 60", 1).ends_with("[testkit: it did not end within 1 s]\n"));
        assert!(shell("yes | head -c 3000000; exit 1", 5).len() <= MOST);
    }

    #[test]
    fn every_step_is_something_a_shell_accepts() {
        for step in &STEPS {
            let checked =
                std::process::Command::new("sh").args(["-n", "-c", &bounded(step.command, 1)]).output().unwrap();
            assert!(checked.status.success(), "{}: {}", step.file, String::from_utf8_lossy(&checked.stderr));
            let inner = std::process::Command::new("sh").args(["-n", "-c", step.command]).output().unwrap();
            assert!(inner.status.success(), "{}: {}", step.file, String::from_utf8_lossy(&inner.stderr));
        }
    }
}
