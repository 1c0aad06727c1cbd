//! What is to be done where a host is not reached. What is to be typed works as it stands.

use super::jump::for_ssh;
use crate::{
    cli::{failure::Failure, shell::quoted},
    host::{ConnectError, Jump, JumpError, Target},
};

/// What to look at where a host is not reached.
pub const REACHABLE: &str = "see that this machine may reach the hosts: on EC2, spec.accessCIDRs and \
                             spec.provider.ec2.connectTo (Public or Private)";
/// How a host is reached that cannot be reached from here.
pub const THROUGH: &str = "through a host that may reach them: --jump [USER@]HOST[:PORT], or spec.access.jumpHost";

/// Why there is no connection to a node, and what to do about it.
pub fn not_connected(name: &str, target: &Target, error: &ConnectError) -> Failure {
    let failure = Failure::new(format!("no connection to {name}: {error}"));
    match error.at_first() {
        ConnectError::HostKeyMismatch { .. } => {
            failure.help("try again when the cluster is ready; if it is, somebody may be in between: go no further")
        }
        ConnectError::AuthFailed { .. } | ConnectError::HungUp { .. } => failure.help("try again in a minute"),
        ConnectError::Jump { jump, why } => at_jump(failure, target, jump, why),
        ConnectError::Refused { .. }
        | ConnectError::Unreachable { .. }
        | ConnectError::Timeout { .. }
        | ConnectError::AtNone { .. } => failure.help(REACHABLE).help(THROUGH),
    }
}

fn at_jump(failure: Failure, target: &Target, name: &str, why: &JumpError) -> Failure {
    let (before, jump) = stop(target, name);
    let words = for_ssh(before, name);
    let see = format!("see whether ssh {words} works from here; --jump names another one, --jump none none");
    match why {
        JumpError::Key { .. } => {
            let failure =
                failure.help("somebody may be in between: go no further, unless you know that it has a new key");
            match jump.and_then(|jump| jump.known_as.as_deref()) {
                Some(known_as) => failure.help(format!(
                    "then: ssh-keygen -R {} && ssh {words}, and compare the fingerprint with the host's own",
                    quoted(known_as)
                )),
                None => failure.help(
                    "then: write the new one into known_hosts of spec.provider.hosts.secretRef; --jump names another way",
                ),
            }
        }
        JumpError::Dropped { .. } => failure
            .help(
                "try again in a moment; if many go through it at once, its sshd_config says how many may: MaxStartups",
            )
            .help(see),
        JumpError::Login { .. } => {
            failure.help(format!("see which key lets you in: ssh -v {words}; ssh-add gives it to your agent"))
        }
        JumpError::Passage { .. } => {
            failure.help("see that the jump host may reach the hosts: spec.accessCIDRs, and that its sshd forwards TCP")
        }
        JumpError::Connect(_) => failure.help(see),
    }
}

/// The jump host of that name on a way to the target, and those before it.
fn stop<'a>(target: &'a Target, name: &str) -> (&'a [Jump], Option<&'a Jump>) {
    let ways = std::iter::once(&target.via).chain(target.also.iter().map(|place| &place.via));
    for via in ways {
        if let Some(at) = via.iter().position(|jump| jump.name == name) {
            return (via.get(..at).unwrap_or_default(), via.get(at));
        }
    }
    (&[], None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{ClientKey, HostId, HostSeed, Place};

    #[test]
    fn what_is_to_be_typed_works_as_it_stands() {
        let pin = HostSeed::generate()
            .host_key(&HostId { cluster: String::new(), slot: String::new(), incarnation: 0 })
            .pin();
        let given = |name: &str| Jump::given(name, 22, "me", pin.clone(), ClientKey::generate());
        let jump = |name: &str, known_as: &str| Jump {
            name: name.to_owned(),
            known_as: Some(known_as.to_owned()),
            ..given("somewhere")
        };
        let key = || JumpError::Key { place: "10.0.0.9".to_owned(), presented: "SHA256:x".to_owned() };
        let login =
            || JumpError::Login { place: "10.0.0.9".to_owned(), user: "me".to_owned(), tried: "a key".to_owned() };
        let nowhere = || ConnectError::Refused { address: "10.0.0.9".to_owned(), message: "no".to_owned() };
        let connect = || JumpError::Connect(Box::new(nowhere()));
        let dropped = || JumpError::Dropped { place: "10.0.0.9".to_owned(), message: "Disconnected".to_owned() };
        // The hosts that are gone through, where, why, and what is said of it last.
        for (via, at, why, words) in [
            (vec![jump("b", "b")], "b", key(), "then: ssh-keygen -R b && ssh b, and"),
            (
                vec![jump("me@b:2222", "[10.0.0.9]:2222")],
                "me@b:2222",
                key(),
                "then: ssh-keygen -R '[10.0.0.9]:2222' && ssh ssh://me@b:2222, and",
            ),
            (
                vec![jump("a:2200", "a"), jump("[fd00::1]:23", "[fd00::1]:23")],
                "[fd00::1]:23",
                key(),
                "then: ssh-keygen -R '[fd00::1]:23' && ssh -J a:2200 'ssh://[fd00::1]:23', and",
            ),
            (vec![given("b")], "me@b", key(), "known_hosts of spec.provider.hosts.secretRef"),
            (vec![jump("a", "a"), jump("me@b", "b")], "me@b", login(), "ssh -v -J a me@b; ssh-add"),
            (vec![jump("a", "a"), jump("me@b", "b")], "a", login(), "ssh -v a; ssh-add"),
            (vec![jump("me@b:23", "[b]:23")], "me@b:23", connect(), "whether ssh ssh://me@b:23 works"),
            (vec![jump("me@b:23", "[b]:23")], "me@b:23", dropped(), "whether ssh ssh://me@b:23 works"),
        ] {
            let error = ConnectError::Jump { jump: at.to_owned(), why };
            let target = Target::pinned("10.0.0.1", ClientKey::generate(), pin.clone());
            let also = vec![Place { address: "10.0.0.2".to_owned(), via: via.clone() }];
            // On the way to the first address, or to another one.
            for target in [Target { via, ..target.clone() }, Target { also, ..target }] {
                let failure = not_connected("foo-m0", &target, &error);
                assert!(failure.remedies().last().is_some_and(|help| help.contains(words)), "{failure}");
            }
        }
    }
}
