//! Whose fault it is that a container did not start, or broke: the spec's, or that of what it runs
//! on. Engines tell in words only. What is not known is the infrastructure's: nobody is sent to
//! correct a spec that is right.

use crate::api::reason;

const ARCHITECTURE: &str = "The image is made for another architecture than the hosts, or its entrypoint is no program: take an image for theirs, or another instance type";
const ENTRYPOINT: &str = "Check spec.image, spec.args and the image's entrypoint";
const DISK: &str = "The host's disk is full: give spec.provider.ec2.volume of the SwarmCluster more room";
const MEMORY: &str = "The host is out of memory or processes: take a bigger instance type";
const BROKEN: &str = "The host's disk fails: replace its instance";
const ENGINE: &str = "The engine or a part of it does not answer: see its log on the host";
const SPEC: &str = "Correct what it names in spec, or in the image";

/// Words, in lower case, whose fault they tell of, and what to do. The first that occur count: what
/// is certain before what an entrypoint may be called.
const FAULTS: [(&str, &str, &str); 24] = [
    ("exec format error", reason::INVALID_SPEC, ARCHITECTURE),
    ("does not match the specified platform", reason::INVALID_SPEC, ARCHITECTURE),
    ("executable file not found", reason::INVALID_SPEC, ENTRYPOINT),
    ("no space left on device", reason::INFRASTRUCTURE, DISK),
    ("disk quota exceeded", reason::INFRASTRUCTURE, DISK),
    ("cannot allocate memory", reason::INFRASTRUCTURE, MEMORY),
    ("resource temporarily unavailable", reason::INFRASTRUCTURE, MEMORY),
    ("too many open files", reason::INFRASTRUCTURE, MEMORY),
    ("input/output error", reason::INFRASTRUCTURE, BROKEN),
    ("read-only file system", reason::INFRASTRUCTURE, BROKEN),
    ("connection refused", reason::INFRASTRUCTURE, ENGINE),
    ("context deadline exceeded", reason::INFRASTRUCTURE, ENGINE),
    ("i/o timeout", reason::INFRASTRUCTURE, ENGINE),
    ("containerd.sock", reason::INFRASTRUCTURE, ENGINE),
    ("no such file or directory", reason::INVALID_SPEC, ENTRYPOINT),
    ("permission denied", reason::INVALID_SPEC, ENTRYPOINT),
    ("is a directory", reason::INVALID_SPEC, ENTRYPOINT),
    ("not a directory", reason::INVALID_SPEC, ENTRYPOINT),
    ("no command specified", reason::INVALID_SPEC, ENTRYPOINT),
    ("unable to find user", reason::INVALID_SPEC, "Correct the user that the image names"),
    ("duplicate mount point", reason::INVALID_SPEC, "Write another spec.results.path"),
    (
        "range of cpus is from",
        reason::INVALID_SPEC,
        "Write less in spec.resources.limits.cpu, or take a bigger instance type",
    ),
    ("argument list too long", reason::INVALID_SPEC, "Give the container less in spec.args, spec.env and spec.envFrom"),
    ("invalid", reason::INVALID_SPEC, SPEC),
];

/// Why a container could not be made or started: the reason, and what to do.
#[must_use]
pub fn of_start(words: &str) -> (&'static str, &'static str) {
    let words = words.to_lowercase();
    let fault = FAULTS.iter().find(|(told, ..)| words.contains(told));
    fault.map_or((reason::INFRASTRUCTURE, ENGINE), |(_, reason, remedy)| (*reason, *remedy))
}

/// Whether an engine says that there is no part of an image for what it runs on.
#[must_use]
pub fn no_platform(words: &str) -> bool {
    ["no matching manifest for", "no match for platform in manifest", "cannot be used on this platform"]
        .iter()
        .any(|told| words.contains(told))
}

/// Why a container broke, by the last lines of its log, where these tell.
#[must_use]
pub fn of_log(lines: &[String]) -> Option<(&'static str, &'static str)> {
    let said = |words: &str| lines.iter().any(|l| l.to_lowercase().contains(words));
    if lines.last().is_some_and(|l| l.ends_with("exec format error")) {
        return Some((reason::INVALID_SPEC, ARCHITECTURE));
    }
    said("no space left on device").then_some((reason::INFRASTRUCTURE, DISK))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What engines 20.10 to 28.5 say.
    #[test]
    fn the_engines_words_tell_whose_fault_it_is() {
        let runc = |what: &str| {
            format!(
                "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: {what}: unknown"
            )
        };
        let spec = [
            runc("exec: \"/bin/nope\": stat /bin/nope: no such file or directory"),
            runc("exec: \"nope\": executable file not found in $PATH"),
            runc("exec: \"/etc\": is a directory"),
            runc("exec: \"/run.sh\": permission denied"),
            runc("exec /run.sh: exec format error"),
            runc("exec /run.sh: argument list too long"),
            "no command specified".to_owned(),
            "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available".to_owned(),
            "invalid environment variable: =x".to_owned(),
            "unable to find user tester: no matching entries in passwd file".to_owned(),
            "Duplicate mount point: /var/run/docker.sock".to_owned(),
        ];
        for words in spec {
            assert_eq!(of_start(&words).0, reason::INVALID_SPEC, "{words}");
        }
        let infrastructure = [
            "mkdir /var/lib/docker/overlay2/0a: no space left on device".to_owned(),
            runc("error during container init: write /sys/fs/cgroup/x: no space left on device"),
            runc("can't copy bootstrap data to pipe: write init-p: broken pipe"),
            "connection error: desc = \"transport: dial unix /run/containerd/containerd.sock: connect: connection refused\"".to_owned(),
            "fork/exec /usr/bin/containerd-shim-runc-v2: cannot allocate memory".to_owned(),
            "open /var/lib/docker/containers/1/hostname: read-only file system".to_owned(),
            "the engine does not answer: it took too long".to_owned(),
        ];
        for words in infrastructure {
            assert_eq!(of_start(&words).0, reason::INFRASTRUCTURE, "{words}");
        }
        assert!(of_start("no space left on device").1.contains("volume"));
    }

    #[test]
    fn an_image_without_a_part_for_the_host_is_told_from_one_that_is_not_to_be_had() {
        for words in [
            "no matching manifest for linux/amd64 in the manifest list entries",
            "failed to resolve reference: no match for platform in manifest: not found",
            "image operating system \"windows\" cannot be used on this platform",
        ] {
            assert!(no_platform(words), "{words}");
        }
        assert!(!no_platform("manifest for suite:1 not found: manifest unknown: manifest unknown"));
    }

    #[test]
    fn a_log_tells_only_what_is_certain() {
        let of = |last: &str| of_log(&["hello".to_owned(), last.to_owned()]).map(|(reason, _)| reason);
        assert_eq!(of("exec /usr/bin/tests: exec format error"), Some(reason::INVALID_SPEC));
        assert_eq!(of("write /results/a.xml: No space left on device"), Some(reason::INFRASTRUCTURE));
        assert_eq!(of("GET /: connection refused"), None);
    }
}
