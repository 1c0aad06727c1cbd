//! `load`: an image on every node of a cluster, sent only where it is missing.

mod archive;
mod local;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::OnceCell;

use self::{
    archive::{Archive, Image},
    local::LocalEngine,
};
use crate::cli::{
    Context,
    failure::Failure,
    hosts::{Reach, nodes},
    terminal::{Task, counted, size},
};
use crate::{
    api::NodeStatus,
    swarm::{Engine, SwarmError},
};

/// How many nodes are sent to at once: the uplink is shared, and more only make each slower.
const AT_ONCE: usize = 32;

/// Put an image on every node of a cluster, where it is missing
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit load e2e:latest --cluster nightly       from the local Docker engine
  kubectl testkit load image.tar.gz --cluster nightly     from an archive of docker save

The local engine is the one the docker CLI uses: DOCKER_HOST, or the current context.
Every node is tried; the exit code is 1 when one of them failed.")]
pub struct Args {
    /// An image of the local Docker engine, or a file that docker save wrote (gzip or not)
    #[arg(value_name = "IMAGE|FILE", value_hint = clap::ValueHint::FilePath)]
    image: String,
    /// The cluster
    #[arg(long, short, value_name = "NAME", add = crate::cli::shell::complete::clusters())]
    cluster: String,
}

/// Loads.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let source = Source::find(&args.image).await?;
    let kubernetes = context.kubernetes().await?;
    let cluster = kubernetes.cluster(&args.cluster).await?;
    let nodes = nodes::of(&cluster)?;
    let reach = Reach::of(context, &kubernetes, &cluster).await?;
    let results: Vec<(&str, Result<Loaded, Failure>)> = stream::iter(nodes)
        .map(async |node| {
            let mut task = context.printer.task(&node.name);
            let result = load(&source, context, &reach, node, &mut task).await;
            match &result {
                Ok(Loaded::HadIt) => task.done("has it already"),
                Ok(Loaded::Sent(bytes)) => {
                    let took = task.elapsed();
                    task.done(&format!("loaded, {} in {took}", size(*bytes)));
                }
                Err(failure) => task.failed(failure.what()),
            }
            (node.name.as_str(), result)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    // Where there was nothing to send, no node is to blame.
    if let Some(Err(failure)) = source.archive.into_inner() {
        return Err(failure);
    }
    let had = results.iter().filter(|(_, r)| matches!(r, Ok(Loaded::HadIt))).count();
    let sent = results.iter().filter(|(_, r)| matches!(r, Ok(Loaded::Sent(_)))).count();
    let mut failed: Vec<(&str, &Failure)> = results.iter().filter_map(|(n, r)| Some((*n, r.as_ref().err()?))).collect();
    failed.sort_by_key(|(name, _)| *name);
    let there = format!("{sent} loaded, {had} had it already");
    if failed.is_empty() {
        return context.printer.line(format_args!(
            "{} is on {} of {}: {there}",
            args.image,
            if results.len() == 1 { "the node".to_owned() } else { format!("all {} nodes", results.len()) },
            args.cluster
        ));
    }
    let names: Vec<&str> = failed.iter().map(|(name, _)| *name).collect();
    let mut failure = Failure::new(format!(
        "{} is not on {} of {} of {}: {} ({there})",
        args.image,
        failed.len(),
        counted(results.len(), "node"),
        args.cluster,
        names.join(", ")
    ));
    let remedies: BTreeSet<&String> = failed.iter().flat_map(|(_, failure)| failure.remedies()).collect();
    for remedy in remedies {
        failure = failure.help(remedy.as_str());
    }
    Err(failure.help("run the same again: nodes that have it are left alone"))
}

/// How a node came to have the image.
enum Loaded {
    HadIt,
    Sent(u64),
}

/// Where the image comes from. An archive of the local engine is made once, when a node first lacks the image.
struct Source {
    origin: Origin,
    archive: OnceCell<Result<Archive, Failure>>,
}

enum Origin {
    File,
    Engine { engine: LocalEngine, reference: String, id: String, size: u64 },
}

impl Source {
    async fn find(word: &str) -> Result<Self, Failure> {
        let path = Path::new(word);
        if path.is_file() {
            let archive = Archive::open(path).await?;
            return Ok(Self { origin: Origin::File, archive: OnceCell::new_with(Some(Ok(archive))) });
        }
        if looks_like_a_file(word) {
            return Err(Failure::new(format!("there is no file {word}"))
                .help("make one: docker save IMAGE -o FILE.tar")
                .help("or name an image of the local Docker engine"));
        }
        let engine = LocalEngine::find();
        let Some(image) = engine.image(word).await? else {
            return Err(Failure::new(format!(
                "the local Docker engine has no image {word:?}, and there is no such file"
            ))
            .help(format!("docker pull {word}"))
            .help("docker image ls"));
        };
        let origin = Origin::Engine { engine, reference: word.to_owned(), id: image.id, size: image.size };
        Ok(Self { origin, archive: OnceCell::new() })
    }

    /// Whether the node has it, as far as that can be told without the archive.
    async fn is_on(&self, engine: &Engine) -> Result<bool, SwarmError> {
        match &self.origin {
            Origin::Engine { reference, id, .. } => Ok(engine.image_id(reference).await?.as_ref() == Some(id)),
            Origin::File => match self.archive.get() {
                Some(Ok(archive)) => has_all(engine, &archive.images).await,
                _ => Ok(false),
            },
        }
    }

    /// The archive, or `None` where it cannot be had: that is told once, at the end.
    async fn archive(&self, context: &Context) -> Option<&Archive> {
        let made = self.archive.get_or_init(async || match &self.origin {
            Origin::File => Err(Failure::new("the archive is not open")),
            Origin::Engine { engine, reference, size, .. } => {
                let mut task = context.printer.task(reference);
                task.say("taking it from the local engine");
                task.bytes(*size);
                let archive =
                    Archive::of(engine.save(reference, &task).await?, "what the local engine saves".to_owned()).await?;
                let took = task.elapsed();
                task.done(&format!("taken from the local engine, {} in {took}", self::size(archive.length)));
                Ok(archive)
            }
        });
        made.await.as_ref().ok()
    }
}

async fn load(
    source: &Source,
    context: &Context,
    reach: &Reach,
    node: &NodeStatus,
    task: &mut Task<'_>,
) -> Result<Loaded, Failure> {
    let failed = |e: SwarmError| Failure::new(format!("the engine of {} failed: {e}", node.name));
    let host = reach.connect(node).await?;
    let engine = Engine::new(&host);
    if source.is_on(&engine).await.map_err(failed)? {
        return Ok(Loaded::HadIt);
    }
    let Some(archive) = source.archive(context).await else {
        return Err(Failure::new("nothing could be sent"));
    };
    // The local engine may know the image by another id than this one does; the archive tells both.
    if matches!(source.origin, Origin::Engine { .. }) && has_all(&engine, &archive.images).await.map_err(failed)? {
        return Ok(Loaded::HadIt);
    }
    task.bytes(archive.length);
    let count = task.counter();
    let bytes = archive.bytes().inspect_ok(move |piece| count(piece.len() as u64));
    engine.load(bytes).await.map_err(failed)?;
    if !has_all(&engine, &archive.images).await.map_err(failed)? {
        return Err(Failure::new(format!("{} loaded the archive and does not have the image after that", node.name))
            .help(format!("look at its disk: kubectl testkit exec CLUSTER --on {} -- df -h", node.name)));
    }
    Ok(Loaded::Sent(archive.length))
}

/// Whether the engine has each of the images under each of its names.
async fn has_all(engine: &Engine, images: &[Image]) -> Result<bool, SwarmError> {
    for image in images {
        let mut found = false;
        for tag in &image.tags {
            found = engine.image_id(tag).await?.is_some_and(|id| image.ids.contains(&id));
            if !found {
                return Ok(false);
            }
        }
        for id in image.ids.iter().filter(|_| image.tags.is_empty()) {
            found = found || engine.image_id(id).await?.is_some();
        }
        if !found {
            return Ok(false);
        }
    }
    Ok(true)
}

fn looks_like_a_file(word: &str) -> bool {
    let path = PathBuf::from(word);
    word.starts_with(['/', '.', '~'])
        || path.extension().is_some_and(|e| ["tar", "tgz", "gz"].iter().any(|known| e.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use super::looks_like_a_file;

    #[test]
    fn a_reference_is_not_taken_for_a_file() {
        for word in ["./x", "/x", "x.tar", "x.tar.gz", "x.tgz"] {
            assert!(looks_like_a_file(word), "{word}");
        }
        for word in ["e2e", "dockerswarm/e2e:latest", "registry.example:5000/a/b:1.2.tar-less", "sha256:0123"] {
            assert!(!looks_like_a_file(word), "{word}");
        }
    }
}
