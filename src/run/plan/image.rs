//! A run's image: it is on every node before the container starts, the same on all, and made for what it runs on.

use std::collections::BTreeMap;

use super::{Look, Plan, SOON, Says, Step};
use crate::{
    api::{ImagePullPolicy, reason},
    host::HostId,
    run::{
        attempt,
        facts::{Bringing, HostView},
        registry::full_name,
        stage::{Clock, Stage},
        verdict,
    },
    swarm::Image,
};

/// The nodes of a cluster.
type Nodes<'a> = BTreeMap<&'a HostId, &'a HostView>;

/// What brings the image to every node; `None` when it is there.
pub fn image(look: &Look<'_>, nodes: &Nodes<'_>) -> Option<Plan> {
    let spec = look.spec;
    // Cases that failed are run again by what they failed by.
    let again = attempt::base(&look.seen.record.attempts).is_some();
    let always = spec.image_pull_policy == ImagePullPolicy::Always && !again;
    let has = |host: &HostView| is_there(host) && (!always || host.bringing == Bringing::Done);
    let missing: Vec<_> = nodes.iter().filter(|(_, host)| !has(host)).map(|(id, host)| (*id, *host)).collect();
    if missing.is_empty() {
        return None;
    }
    let words = missing.iter().find_map(|(_, host)| match &host.bringing {
        Bringing::Failed { words, .. } => Some(words.as_str()),
        _ => None,
    });
    if let Some(words) = words.filter(|w| verdict::no_platform(w) && !nodes.values().any(|host| is_there(host))) {
        let message = format!(
            "{} is not made for what the hosts run on: {words}. Take an image for it (docker build --platform), or other instance types in spec.provider.ec2.instanceTypes of the SwarmCluster; then create another E2ERun",
            spec.image
        );
        return Some(Plan::end(reason::INVALID_SPEC, message));
    }
    let names: Vec<String> = missing.iter().map(|(id, _)| look.node(&id.slot)).collect();
    let (image, on) = (&spec.image, names.join(", "));
    let load = format!("`kubectl testkit load {image} --cluster {}`", look.cluster());
    let remedy = format!(
        "load it with {load}, or make sure that the hosts reach its registry, with a login of spec.imagePullSecrets where it asks for one"
    );
    let Some(clock) = look.clock(Stage::Image) else {
        let said = words.map_or_else(String::new, |w| format!(" The engine says: {w}."));
        let message =
            format!("{image} is not on {on} after {}.{said} To have it there, {remedy}", spec.image_pull_timeout);
        return Some(Plan::end(reason::IMAGE_UNAVAILABLE, message));
    };
    let message = match (spec.image_pull_policy, words) {
        (ImagePullPolicy::Never, _) => {
            format!("{image} is not on {on}, and imagePullPolicy is Never: load it with {load}")
        }
        (_, Some(words)) => format!("{image} is not on {on}: {words}. It is tried again; or {remedy}"),
        (_, None) => format!("bringing {image} to {on}"),
    };
    Some(bring(clock, nodes, &missing, spec.image_pull_policy, message))
}

/// Pulls where the image is missing or, where that failed and another node has it, copies it from there.
fn bring(
    clock: Clock,
    nodes: &Nodes<'_>,
    missing: &[(&HostId, &HostView)],
    policy: ImagePullPolicy,
    message: String,
) -> Plan {
    let donor = nodes.iter().find(|(_, host)| is_there(host)).map(|(id, _)| *id);
    let donor = donor.filter(|_| policy != ImagePullPolicy::Always);
    let step = |(id, host): &(&HostId, &HostView)| match (&host.bringing, donor) {
        (Bringing::Busy | Bringing::Failed { due: false, .. }, _) => None,
        (Bringing::Failed { .. }, Some(from)) => Some(Step::Copy { from: from.clone(), to: (*id).clone() }),
        _ => Some(Step::Pull((*id).clone())),
    };
    let steps = match policy {
        ImagePullPolicy::Never => vec![],
        ImagePullPolicy::Always | ImagePullPolicy::IfNotPresent => missing.iter().filter_map(step).collect(),
    };
    Plan::wait(clock, steps, Says::Image(message), SOON)
}

/// Whether the image is on a host.
fn is_there(host: &HostView) -> bool {
    matches!(host.image, Some(Some(_)))
}

/// What to say where the image is not made for what the container would run on; `None` where it is, or where that is
/// not known.
pub fn foreign(look: &Look<'_>, nodes: &Nodes<'_>, on: &HostId) -> Option<Plan> {
    let host = nodes.get(on)?;
    let (theirs, ours) = (host.image.as_ref()?.as_ref()?.platform.as_ref()?, host.platform.as_ref()?);
    if runs_on(theirs, ours) {
        return None;
    }
    let (image, node) = (&look.spec.image, look.node(&on.slot));
    let message = format!(
        "{image} is made for {theirs}, and {node} is {ours}: take an image for {ours} (docker build --platform {ours}), or other instance types in spec.provider.ec2.instanceTypes of the SwarmCluster; then create another E2ERun"
    );
    Some(Plan::end(reason::INVALID_SPEC, message))
}

/// Whether what is made for one platform runs on the other: 64-bit processors run what is made for their ancestors.
fn runs_on(image: &str, host: &str) -> bool {
    // What a builder writes is not checked by anybody; these are the kernel's own words for the same.
    let image = match image {
        "linux/x86_64" => "linux/amd64",
        "linux/aarch64" => "linux/arm64",
        other => other,
    };
    image == host || matches!((image, host), ("linux/386", "linux/amd64") | ("linux/arm", "linux/arm64"))
}

/// Whether two hosts have one image: by what a registry knows it by, or by its id. On hosts of different
/// architectures the parts of one image are different ones.
fn same(a: &HostView, b: &HostView) -> bool {
    let (Some(Some(one)), Some(Some(other))) = (&a.image, &b.image) else { return true };
    let differ = a.platform.is_some() && b.platform.is_some() && a.platform != b.platform;
    differ || one.id == other.id || one.digests.iter().any(|digest| other.digests.contains(digest))
}

/// What gives every node the image of the one that the container runs on: a tag may have moved between two pulls, or
/// long ago. `None` where they have it. Engines of different kinds know one image by different ids: what was given
/// once is not given again.
pub fn differing(look: &Look<'_>, nodes: &Nodes<'_>, on: &HostId) -> Option<Plan> {
    // What a person brought is left as it is.
    if look.spec.image_pull_policy == ImagePullPolicy::Never {
        return None;
    }
    let counts = nodes.get(on)?;
    let other = |host: &HostView| !same(counts, host) && host.aligning != Bringing::Done;
    let differing: Vec<_> = nodes.iter().filter(|(_, host)| other(host)).collect();
    let (first, host) = differing.first()?;
    let (image, node, here) = (&look.spec.image, look.node(&first.slot), look.node(&on.slot));
    let why = match &host.aligning {
        Bringing::Failed { words, .. } => format!(": {words}"),
        Bringing::Idle | Bringing::Busy | Bringing::Done => String::new(),
    };
    let words = format!("{node} has another image of the name {image} than {here}, and is given that one{why}");
    let Some(clock) = look.clock(Stage::Image) else {
        let limit = look.limit(Stage::Image);
        let message = format!("{words}; that took longer than spec.imagePullTimeout ({limit})");
        return Some(Plan::end(reason::IMAGE_UNAVAILABLE, message));
    };
    let due = |host: &HostView| matches!(host.aligning, Bringing::Idle | Bringing::Failed { due: true, .. });
    let step = |id: &HostId| Step::Align { from: on.clone(), to: id.clone() };
    let steps = differing.iter().filter(|(_, host)| due(host)).map(|(id, _)| step(id)).collect();
    Some(Plan::wait(clock, steps, Says::Image(words), SOON))
}

/// What to say where cases that failed would be run again by another image than the one they failed by: the tag has
/// moved since. On a node to which the image was copied no registry knows it: there it is found by that of another node.
pub fn moved(look: &Look<'_>, nodes: &Nodes<'_>, on: &HostId) -> Option<Plan> {
    let base = attempt::base(&look.seen.record.attempts)?;
    let (was, here) = (base.image.as_ref()?, nodes.get(on)?);
    let is =
        |host: &HostView| matches!(&host.image, Some(Some(image)) if image.id == *was || image.digests.contains(was));
    if nodes.values().any(|host| is(host) && same(host, here)) {
        return None;
    }
    let words = format!(
        "{} is another image on {} than {was}, by which the cases failed: they are not run again by that one",
        look.spec.image,
        look.node(&on.slot)
    );
    Some(Plan::end(reason::NO_RESULTS, words))
}

/// What a run's container is made of, for people: what the registry of this name knows it by, or its id.
pub fn known_as(image: &Image, name: &str) -> String {
    digest_of(image, name).unwrap_or(&image.id).clone()
}

/// What the registry of this name knows an image by. An image has the digests of all repositories that it was ever tagged
/// for or pushed to, and whoever has the Docker socket can add one: logins for this name are for none of those.
pub fn digest_of<'a>(image: &'a Image, name: &str) -> Option<&'a String> {
    image.digests.iter().find(|digest| full_name(digest) == full_name(name))
}
