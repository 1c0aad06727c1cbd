//! Takes the steps of a plan. Each is idempotent and may be cut off at any await.

use std::time::Duration;

use futures::future::join;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt};

use super::{
    Context, Error,
    attempt::{self, Attempt},
    container,
    facts::{Container, ContainerState, Observed},
    image,
    jobs::Work,
    keep, observe, own,
    plan::{Plan, Says, Step, digest_of, known_as},
    queue,
    record::{self, Change, Placed},
    report,
    stage::{Stage, elapsed},
    verdict,
};
use crate::{
    api::{E2ERun, label, reason},
    events::Severity,
    host::HostId,
    refusal::Refusal,
    swarm::{Engine, Image, SwarmError},
};

/// What a container has to end that was told to before, and should have ended by now.
const LAST: Duration = Duration::from_secs(1);

/// How long a step may take. The limits of questions to engines are over where an answer begins: one without an end must
/// not keep the run from its own.
const LONGEST: Duration = Duration::from_secs(600);

/// What came of the steps.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The container after them, where that changed.
    pub container: Option<(HostId, Container)>,
    /// The step that failed, in words. The steps after it were not taken.
    pub failure: Option<String>,
    /// A failure that is not worth another try: the reason, and what to do.
    pub fatal: Option<(&'static str, &'static str)>,
    /// When the container was started, where it was.
    pub begun: Option<Timestamp>,
    /// The stage that the plan enters is written down with a step, or another one is.
    pub entered: bool,
    /// It is somebody else's turn: the steps after taking a place were not taken.
    pub behind: bool,
    /// The object was let go.
    pub released: bool,
}

/// Takes the steps, in order, until one fails.
///
/// # Errors
/// Where the API server refuses a write.
pub async fn act(context: &Context, run: &E2ERun, seen: &Observed, plan: &Plan) -> Result<Outcome, Error> {
    let uid = run.uid().unwrap_or_default();
    if matches!(plan.says, Says::Ended(_)) || seen.finished {
        context.jobs.forget(&uid);
        drop(context.lines.forget(&uid));
    }
    let mut outcome = Outcome::default();
    let api: Api<E2ERun> = Api::namespaced(context.client.clone(), &run.namespace().unwrap_or_default());
    let mut actor = Actor { context, run, seen, api, outcome: &mut outcome };
    for step in &plan.steps {
        let taken = tokio::time::timeout(LONGEST, actor.take(step)).await;
        let late = |_| Ok(Err(format!("a step has not ended after {} s", LONGEST.as_secs())));
        if let Err(failure) = taken.unwrap_or_else(late)? {
            actor.outcome.failure = Some(failure);
            break;
        }
        if actor.outcome.behind {
            break;
        }
    }
    let over = actor.outcome.entered || actor.outcome.behind || actor.outcome.released;
    if let Some((stage, at)) = plan.enters.filter(|_| !over) {
        actor.write(Change::Entered(stage, at)).await?;
    }
    if outcome.released {
        context.jobs.forget(&uid);
        context.keeper.forget(&uid);
        drop(context.lines.forget(&uid));
    } else {
        context.jobs.note(&uid, outcome.failure.as_deref());
    }
    Ok(outcome)
}

struct Actor<'a> {
    context: &'a Context,
    run: &'a E2ERun,
    seen: &'a Observed,
    api: Api<E2ERun>,
    outcome: &'a mut Outcome,
}

/// What came of a step: the failure is a host's, in words.
type Taken = Result<Result<(), String>, Error>;

impl Actor<'_> {
    async fn take(&mut self, step: &Step) -> Taken {
        let (context, run) = (self.context, self.run);
        match step {
            Step::Hold => self.write(Change::Hold(Timestamp::now())).await?,
            Step::Release => {
                self.write(Change::Release).await?;
                self.outcome.released = true;
            }
            Step::MakeCluster => return self.make_cluster().await,
            Step::DeleteCluster(uid, why) => self.delete_cluster(uid, why).await?,
            Step::Take => self.outcome.behind = !self.place(queue::Change::Take).await?,
            Step::Claim => {
                self.place(queue::Change::Claim).await?;
            }
            Step::Vacate => {
                self.place(queue::Change::Leave).await?;
            }
            Step::Again(attempt, words) => self.again(attempt, words).await?,
            Step::Forget(stages) => self.write(Change::Left(stages.clone())).await?,
            Step::Disturbed(words) => self.write(Change::Disturbed(words.clone())).await?,
            Step::Pull(id) => {
                let wanted = image::Wanted::of(run, &context.client);
                let pull = image::pull(context.hosts.clone(), id.clone(), wanted);
                context.jobs.ensure(run, Work::Image(id.clone()), pull);
            }
            Step::Copy { from, to } => {
                let copy = image::copy(context.hosts.clone(), from.clone(), to.clone(), run.spec.image.clone());
                context.jobs.ensure(run, Work::Image(to.clone()), copy);
            }
            Step::Align { from, to } => {
                let digest = self.image_on(from).and_then(|image| digest_of(image, &run.spec.image)).cloned();
                let wanted = image::Wanted::of(run, &context.client);
                let align = image::align(context.hosts.clone(), (from.clone(), to.clone()), digest, wanted);
                context.jobs.ensure(run, Work::Align(to.clone()), align);
            }
            Step::Launch(id) => return self.launch(id).await,
            Step::Adopt(id, container) => {
                return match self.engine(id) {
                    Ok(engine) => self.begin(&engine, id, container).await,
                    Err(why) => Ok(Err(why)),
                };
            }
            Step::Follow(id, container) => self.follow(id, container),
            Step::Stop(cut, id, container) => {
                if self.seen.record.cut != Some(*cut) || !self.seen.record.since.contains_key(&Stage::Stopping) {
                    self.write(Change::Cut(*cut, Timestamp::now())).await?;
                    self.outcome.entered = true;
                }
                self.stop(id, container);
            }
            Step::Keep(id, container, course) => keep::begin(context, run, id, container, course),
            Step::Remove(id, container) => return Ok(self.remove(id, container).await),
            Step::TryRemove(id, container) => {
                if let Err(why) = self.remove(id, container).await {
                    self.abandon(&format!("{why}. Remove it there: docker rm -f {container}")).await;
                }
            }
            Step::Abandon(words) => self.abandon(words).await,
        }
        Ok(Ok(()))
    }

    /// What is done for the attempt that ended is over: of the next one nothing is known yet.
    async fn again(&mut self, ended: &Attempt, words: &str) -> Result<(), Error> {
        let attempts = attempt::with(&self.seen.record.attempts, ended.clone());
        self.write(Change::Again(attempts, Timestamp::now())).await?;
        self.outcome.entered = true;
        let uid = self.run.uid().unwrap_or_default();
        self.context.jobs.forget(&uid);
        self.context.keeper.forget(&uid);
        drop(self.context.lines.forget(&uid));
        report::tell(self.context, self.run, Severity::Warning, reason::RETRYING, words).await;
        Ok(())
    }

    async fn write(&self, change: Change) -> Result<(), Error> {
        Ok(record::write(&self.api, self.run, change).await?)
    }

    fn node(&self, id: &HostId) -> String {
        format!("{}-{}", self.run.spec.cluster(), id.slot)
    }

    /// Changes the run's place on its cluster; whether it has what it wanted.
    async fn place(&self, change: queue::Change) -> Result<bool, Error> {
        let Some(cluster) = &self.seen.cluster else { return Ok(change == queue::Change::Leave) };
        Ok(queue::change(&self.context.client, &self.context.line, self.run, &cluster.guests, change).await?)
    }

    async fn make_cluster(&mut self) -> Taken {
        let Some(template) = &self.run.spec.cluster_template else { return Ok(Ok(())) };
        let made = own::make(&self.context.client, self.run, template).await?;
        let cluster = self.run.spec.cluster();
        Ok(made.map_err(|refused| match refused {
            Refusal::WantOfRoom(words) => format!("SwarmCluster {cluster} is made when there is room for it: {words}"),
            Refusal::ForGood(words) | Refusal::WantOfPermission(words) => {
                let remedy = "Once that is corrected, create another E2ERun";
                self.outcome.fatal = Some((reason::CLUSTER_FAILED, remedy));
                format!("SwarmCluster {cluster} is refused: {words}")
            }
        }))
    }

    async fn delete_cluster(&self, uid: &str, why: &str) -> Result<(), Error> {
        own::delete(&self.context.client, self.run, uid).await?;
        let words = format!("SwarmCluster {} is deleted: {why}", self.run.spec.cluster());
        report::tell(self.context, self.run, Severity::Normal, reason::CLUSTER_DELETED, &words).await;
        Ok(())
    }

    /// The run's image on a host, as it was seen in this pass.
    fn image_on(&self, id: &HostId) -> Option<&Image> {
        self.seen.hosts.get(id)?.image.as_ref()?.as_ref()
    }

    fn engine(&self, id: &HostId) -> Result<Engine, String> {
        observe::control(&self.context.hosts, id).map_err(|why| format!("{} cannot be reached: {why}", self.node(id)))
    }

    async fn launch(&mut self, id: &HostId) -> Taken {
        let engine = match self.engine(id) {
            Ok(engine) => engine,
            Err(why) => return Ok(Err(why)),
        };
        // Read in this very pass.
        let Some(Ok(variables)) = &self.seen.variables else {
            return Ok(Err("the variables of the container were not read".to_owned()));
        };
        let found = self.image_on(id).cloned().unwrap_or_default();
        let (run, attempts) = (self.run, &self.seen.record.attempts);
        let args = match container::arguments(&run.spec, attempts, &found) {
            Ok(args) => args,
            Err(words) => {
                let remedy = "Correct spec.retries.filter, or the label of the image, and create another E2ERun";
                self.outcome.fatal = Some((reason::INVALID_SPEC, remedy));
                let which = if attempt::only(attempts).is_none() { "of spec.cases" } else { "that failed" };
                return Ok(Err(format!("the cases {which} cannot be run alone: {words}")));
            }
        };
        let (image, attempt) = (known_as(&found, &run.spec.image), attempts.len() + 1);
        match engine.create(container::spec(run, variables, args, attempt, &image)).await {
            Ok(created) => {
                let state = ContainerState::Created { error: None };
                let filter = found.labels.get(label::CASE_FILTER).cloned();
                let started = Vec::new();
                let container = Container { id: created, state, image: Some(image), attempt, filter, started };
                self.begin(&engine, id, &container).await
            }
            Err(error) => {
                let words = error.to_string();
                let (why, remedy) = verdict::of_start(&words);
                if matches!(error, SwarmError::Refused(_)) && why == reason::INVALID_SPEC {
                    self.outcome.fatal = Some((why, remedy));
                }
                Ok(Err(format!("the container could not be created on {}: {words}", self.node(id))))
            }
        }
    }

    /// Writes a container down and opens its folder for results, then starts and follows it.
    async fn begin(&mut self, engine: &Engine, id: &HostId, container: &Container) -> Taken {
        let new = matches!(container.state, ContainerState::Created { .. });
        let known = self.seen.record.placed.as_ref().is_some_and(|p| p.container == container.id && p.host == *id);
        let written = async {
            if known {
                return Ok(());
            }
            let placed = Placed { host: id.clone(), container: container.id.clone(), at: Timestamp::now() };
            self.write(Change::Placed(placed)).await
        };
        let path = &self.run.spec.results.path;
        let opened = async { if new { engine.open_folder(&container.id, path).await } else { Ok(()) } };
        let (written, opened) = join(written, opened).await;
        written?;
        if let Err(error) = opened {
            return Ok(Err(format!("{path} of the container on {} could not be made: {error}", self.node(id))));
        }
        if new {
            if let Err(error) = engine.start(&container.id).await {
                // Whether it is worth another try is what the container's own state says in the next pass.
                return Ok(Err(format!("the container could not be started on {}: {error}", self.node(id))));
            }
            let now = Timestamp::now();
            self.write(Change::Entered(Stage::Running, now)).await?;
            (self.outcome.begun, self.outcome.entered) = (Some(now), true);
        }
        self.follow(id, &container.id);
        if let Ok(Some(now)) = observe::inspect(engine, &container.id).await {
            self.outcome.container = Some((id.clone(), now));
        }
        Ok(Ok(()))
    }

    fn follow(&self, id: &HostId, container: &str) {
        let (hosts, lines) = (self.context.hosts.clone(), self.context.lines.clone());
        let (id, container, uid) = (id.clone(), container.to_owned(), self.run.uid().unwrap_or_default());
        self.context.jobs.ensure(self.run, Work::Follow, async move {
            let engine = observe::control(&hosts, &id)?;
            let prepare = async {
                lines.prepare(&hosts, &uid, &id).await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                ended = engine.wait(&container) => ended.map(drop).map_err(|e| e.to_string()),
                () = prepare => Ok(()),
            }
        });
    }

    /// An operator before this one told the container to end, as far as is known: many programs take a
    /// second SIGTERM for impatience, and its engine goes on with the first one by itself.
    fn told_before(&self) -> Option<Duration> {
        let since = self.seen.record.since.get(&Stage::Stopping).filter(|_| self.seen.record.cut.is_some())?;
        let known = self.context.jobs.knows(&self.run.uid().unwrap_or_default(), &Work::Stop);
        let left = self.run.spec.grace_period.get().saturating_sub(elapsed(*since, Timestamp::now()));
        (!known && !left.is_zero()).then_some(left)
    }

    fn stop(&self, id: &HostId, container: &str) {
        let (hosts, id, container) = (self.context.hosts.clone(), id.clone(), container.to_owned());
        let (grace, told) = (self.run.spec.grace_period.get(), self.told_before());
        self.context.jobs.ensure(self.run, Work::Stop, async move {
            let engine = observe::control(&hosts, &id)?;
            let mut grace = grace;
            if let Some(left) = told {
                if tokio::time::timeout(left, engine.wait(&container)).await.is_ok_and(|ended| ended.is_ok()) {
                    return Ok(());
                }
                grace = LAST;
            }
            engine.stop(&container, grace).await.map_err(|e| e.to_string())
        });
    }

    async fn remove(&self, id: &HostId, container: &str) -> Result<(), String> {
        let removed = match observe::control(&self.context.hosts, id) {
            Ok(engine) => engine.remove_container(container).await.map_err(|e| e.to_string()),
            Err(why) => Err(why),
        };
        removed.map_err(|e| format!("the container on {} could not be removed: {e}", self.node(id)))
    }

    async fn abandon(&self, words: &str) {
        tracing::warn!(run = self.run.name_any(), "{words}");
        report::tell(self.context, self.run, Severity::Warning, reason::CONTAINER_LEFT, words).await;
    }
}
