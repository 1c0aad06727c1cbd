//! What is wrong, in sentences, from what was looked at. Pure.

use jiff::Timestamp;
use kube::ResourceExt;

use super::steps::Output;
use crate::{
    api::{E2ERun, NodeState, NodeStatus, Phase, SwarmCluster, is_true, type_},
    cli::terminal::age,
};

/// Fuller than this, a disk is worth a word.
const FULL: u32 = 90;
/// Swarm's certificates bear no more than small differences of clocks.
const SKEW: u64 = 10;
/// How many failed runs are named.
const RUNS: usize = 3;
/// The longest sentence.
const LONGEST: usize = 240;

/// What the objects say is wrong.
pub fn of_objects(cluster: &SwarmCluster, runs: &[E2ERun], now: Timestamp) -> Vec<String> {
    let name = cluster.name_any();
    let mut found = Vec::new();
    let Some(status) = cluster.seen_status() else {
        return vec![format!("{name}: the operator has not looked at it yet: is it running?")];
    };
    match status.conditions.iter().find(|c| c.type_ == type_::READY) {
        None => found.push(format!("{name}: the operator has not said whether it is ready")),
        Some(ready) if ready.status != "True" => {
            let since =
                std::time::Duration::try_from(now.duration_since(ready.last_transition_time.0)).unwrap_or_default();
            let word = if is_true(&status.conditions, type_::STALLED) { "cannot become ready" } else { "is not ready" };
            found.push(format!("{name} {word}, since {}: {}: {}", age(since), ready.reason, ready.message));
        }
        Some(_) => {}
    }
    if status.observed_generation != cluster.metadata.generation {
        found.push(format!("{name}: the operator has not looked at its latest spec yet"));
    }
    for node in status.nodes.iter().filter(|node| node.state != NodeState::Ready) {
        let message = node.message.as_ref().map(|m| format!(": {m}")).unwrap_or_default();
        found.push(format!("{} is {:?}{message}", node.name, node.state));
    }
    let mut failed: Vec<&E2ERun> =
        runs.iter().filter(|run| run.status.as_ref().is_some_and(|s| s.phase == Some(Phase::Failed))).collect();
    failed.sort_by_key(|run| std::cmp::Reverse(run.creation_timestamp().map(|t| t.0)));
    for run in failed.into_iter().take(RUNS) {
        let message = run.status.as_ref().and_then(|s| s.message.as_deref()).unwrap_or_default();
        found.push(format!("run {} failed: {message}", run.name_any()));
    }
    bound(found)
}

/// What the host says is wrong.
pub fn of_node(node: &NodeStatus, outputs: &[Output]) -> Vec<String> {
    let name = &node.name;
    let of = |file: &str| outputs.iter().find(|output| output.file == file);
    let text = |file: &str| of(file).map(|output| output.text.as_str()).unwrap_or_default();
    let mut found = Vec::new();
    let engine = of("docker-info.txt");
    let silent = engine.is_some_and(|output| !output.well);
    if let Some(output) = engine.filter(|output| !output.well) {
        found.push(format!("{name}: its engine does not answer: {}", telling(&output.text)));
    }
    let state = text("docker-info.txt").lines().map(str::trim).find(|line| line.starts_with("Swarm: "));
    if let Some(line) = state.filter(|line| *line != "Swarm: active") {
        found.push(format!("{name}: its engine says {line:?}"));
    }
    for file in ["docker-node-ls.txt", "docker-service-ls.txt"] {
        if let Some(output) = of(file).filter(|output| !output.well && !silent) {
            found.push(format!(
                "{name}: {}: {}",
                file.trim_end_matches(".txt").replace('-', " "),
                telling(&output.text)
            ));
        }
    }
    if node.leader {
        found.extend(
            text("docker-node-ls.txt")
                .lines()
                .skip(1)
                .filter(|line| wrong_node(line))
                .map(|line| format!("the swarm says: {}", line.split_whitespace().collect::<Vec<_>>().join(" "))),
        );
        found.extend(text("docker-service-ls.txt").lines().skip(1).filter_map(short_service));
    }
    for line in text("disks.txt").lines() {
        let columns: Vec<&str> = line.split_whitespace().collect();
        if let [.., used, place] = columns.as_slice()
            && used.trim_end_matches('%').parse::<u32>().is_ok_and(|used| used >= FULL)
        {
            found.push(format!("{name}: the disk at {place} is {used} full"));
        }
    }
    if let Some(output) = of("clock.txt")
        && let Ok(clock) = output.text.trim().parse::<i64>()
    {
        let skew = clock.abs_diff(clock.clamp(output.between.0, output.between.1));
        if skew > SKEW {
            found.push(format!("{name}: its clock is {skew} s away from this machine's"));
        }
    }
    let killed = |line: &&str| line.contains("Out of memory") || line.contains("oom-kill:");
    if let Some(line) = text("kernel.log").lines().rfind(killed) {
        found.push(format!("{name}: its kernel ran out of memory: {line}"));
    }
    let fatal = |line: &&str| line.contains("level=fatal") || line.starts_with("panic: ") || line.contains(" panic: ");
    let error = |line: &&str| fatal(line) || line.contains("level=error");
    let log = text("engine.log");
    // An engine always has errors to tell; they matter where something is wrong.
    let bad = silent || node.state != NodeState::Ready;
    match log.lines().rfind(|line| if bad { error(line) } else { fatal(line) }) {
        Some(line) => found.push(format!("{name}: its engine's log: {line}")),
        None if bad && of("engine.log").is_some_and(|output| !output.well) => {
            found.push(format!("{name}: its engine's log: {}", telling(log)));
        }
        None => {}
    }
    bound(found)
}

/// A line of `docker node ls` about a node that is not well.
fn wrong_node(line: &str) -> bool {
    line.split_whitespace().any(|word| matches!(word, "Down" | "Unknown" | "Disconnected" | "Unreachable"))
}

/// A line of `docker service ls` about a service that has fewer tasks than it should.
fn short_service(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (replicas, name) =
        (words.iter().find(|w| w.contains('/') && w.starts_with(|c: char| c.is_ascii_digit()))?, words.get(1)?);
    let (runs, wanted) = replicas.split_once('/')?;
    let (runs, wanted) = (runs.parse::<u32>().ok()?, wanted.parse::<u32>().ok()?);
    (runs < wanted).then(|| format!("service {name} has {runs} of {wanted} tasks"))
}

/// The line that says why something failed.
fn telling(text: &str) -> &str {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let last = lines.clone().next_back().unwrap_or("it says nothing");
    lines.rfind(|line| !line.starts_with("[testkit: ")).unwrap_or(last)
}

fn bound(mut sentences: Vec<String>) -> Vec<String> {
    for sentence in &mut sentences {
        if let Some((end, _)) = sentence.char_indices().nth(LONGEST) {
            sentence.truncate(end);
            sentence.push('…');
        }
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(state: &str, leader: bool) -> NodeStatus {
        serde_json::from_value(
            serde_json::json!({"name": "foo-m0", "role": "Manager", "state": state, "leader": leader}),
        )
        .unwrap()
    }

    fn output(file: &'static str, text: &str) -> Output {
        Output { file, text: text.to_owned(), well: !text.contains("[testkit"), between: (1000, 1005) }
    }

    #[test]
    fn a_node_that_is_well_has_no_findings() {
        let outputs = [
            output("docker-info.txt", "Server:\n Swarm: active\n"),
            output("docker-node-ls.txt", "ID HOSTNAME STATUS\nabc * ip-1 Ready Active Leader 28.5\n"),
            output(
                "docker-service-ls.txt",
                "ID NAME MODE REPLICAS IMAGE\nx1 web replicated 3/3 e2e:latest *:80->80/tcp\n",
            ),
            output("disks.txt", "/dev/vda 1000 500 500 50% /\n"),
            output("clock.txt", "1003\n"),
            output("engine.log", "level=error msg=\"session failed\"\n"),
        ];
        assert_eq!(of_node(&node("Ready", true), &outputs), Vec::<String>::new());
    }

    #[test]
    fn each_thing_that_is_wrong_is_a_sentence() {
        let outputs = [
            output("docker-info.txt", "Cannot connect to the Docker daemon\n\n[testkit: it ended with exit code 1]\n"),
            output("docker-node-ls.txt", "ID HOSTNAME STATUS\nabc ip-2 Down Active Unreachable 28.5\n"),
            output("docker-service-ls.txt", "ID NAME MODE REPLICAS IMAGE\nx1 web replicated 1/3 e2e:latest\n"),
            output("disks.txt", "/dev/vda 1000 950 50 95% /var/lib/docker\n"),
            output("clock.txt", "2000\n"),
            output("kernel.log", "[1.0] Out of memory: Killed process 7\n"),
            output("engine.log", "level=error msg=first\nlevel=error msg=last\nlevel=info msg=x\n"),
        ];
        let found = of_node(&node("Down", true), &outputs);
        for words in [
            "engine does not answer: Cannot connect",
            "the swarm says: abc ip-2 Down",
            "service web has 1 of 3 tasks",
            "/var/lib/docker is 95% full",
            "clock is 995 s away",
            "ran out of memory",
            "msg=last",
        ] {
            assert!(found.iter().any(|sentence| sentence.contains(words)), "{words}: {found:#?}");
        }
        assert_eq!(found.len(), 7, "{found:#?}");
    }
}
