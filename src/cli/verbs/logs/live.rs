//! The log of a container that runs, from its engine.

use std::pin::pin;

use futures::TryStreamExt;
use kube::ResourceExt;

use super::{Part, Stage, stage, tail::Tail};
use crate::{
    api::E2ERun,
    cli::{
        Context,
        failure::Failure,
        hosts::{Reach, nodes},
        kubernetes::Kubernetes,
    },
    swarm::{Engine, SwarmError},
};

/// Why a stream of a running container broke off.
pub enum Broken {
    /// Trying again would end the same way.
    ForGood(Failure),
    /// The host or the way to it: it may come back, or the run ends without it.
    ForNow(Failure),
    /// There is nothing more to read there: the run ends soon, and what was kept of it has the rest.
    Gone(Failure),
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::ForGood(failure) | Broken::ForNow(failure) | Broken::Gone(failure) => failure,
        }
    }
}

/// The log of a running container. An engine gives the same bytes each time it is asked from the
/// start, so what was printed is skipped by its length: exact, where times of lines are not.
#[derive(Default)]
pub struct Live {
    /// So many bytes were printed.
    pub printed: u64,
    /// The container they are of: a run that is begun again has another one.
    pub container: Option<String>,
}

impl Live {
    /// Whether what was printed is of this container. Where nothing tells of another one it is.
    pub fn is_of(&self, container: Option<&str>) -> bool {
        container.is_none() || self.container.is_none() || self.container.as_deref() == container
    }

    /// Prints what was not printed yet.
    pub async fn stream(
        &mut self,
        context: &Context,
        kubernetes: &Kubernetes,
        run: &E2ERun,
        follow: bool,
        part: &Part,
    ) -> Result<(), Broken> {
        let Stage::Running { container, manager } = stage(run) else { return Ok(()) };
        if !self.is_of(Some(container)) {
            self.printed = 0;
        }
        self.container = Some(container.to_owned());
        let cluster = kubernetes.cluster(&run.cluster_name()).await.map_err(Broken::ForGood)?;
        let node = nodes::one(&cluster, Some(manager)).map_err(Broken::ForGood)?;
        let reach = Reach::of(context, kubernetes, &cluster).await.map_err(Broken::ForGood)?;
        let host = reach.connect(node).await.map_err(Broken::ForNow)?;
        let broken = |error: SwarmError| {
            let name = run.name_any();
            match error {
                SwarmError::NotFound(_) => {
                    Broken::Gone(Failure::new(format!("the container of {name} is not on {} any more", node.name)))
                }
                error => Broken::ForNow(Failure::new(format!("the log of {name} on {} broke off: {error}", node.name))),
            }
        };
        let engine = Engine::new(&host);
        let lines = |follow| engine.log_lines(container, follow, part.since, part.timestamps);
        if let Some(tail) = part.tail.filter(|_| self.printed == 0) {
            let mut last = Tail::of(tail);
            let mut log = pin!(lines(false));
            while let Some(piece) = log.try_next().await.map_err(broken)? {
                self.printed += piece.len() as u64;
                last.push(&piece);
            }
            context.printer.bytes(last.lines()).map_err(Broken::ForGood)?;
            if !follow {
                return Ok(());
            }
        }
        let mut log = pin!(lines(follow));
        let mut skip = self.printed;
        while let Some(piece) = log.try_next().await.map_err(broken)? {
            let known = usize::try_from(skip).map_or(piece.len(), |skip| skip.min(piece.len()));
            skip -= known as u64;
            let fresh = &piece[known..];
            context.printer.bytes(fresh).map_err(Broken::ForGood)?;
            self.printed += fresh.len() as u64;
        }
        Ok(())
    }
}
