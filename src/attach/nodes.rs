//! Streams to the nodes of a cluster: to where a question goes, as [`homes`](super::homes) decides.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use super::{
    Status,
    homes::{Next, Pin, Question, Trouble},
    keeper,
    link::{Link, Node, Own},
    links::{Event, Links},
};
use crate::host::{HostError, Pipe};

/// How long a question that any manager may answer waits for one.
const WAIT: Duration = Duration::from_secs(10);
/// Before a stream is asked for again where nothing about the links has changed.
const ONCE_MORE: Duration = Duration::from_millis(100);

/// There is nobody to ask.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refused {
    /// No node that could answer is connected.
    #[error("no manager of {cluster} answers{}", .why.as_deref().map(|w| format!(": {w}")).unwrap_or_default())]
    Nobody {
        /// The cluster.
        cluster: String,
        /// Why not, as far as is known.
        why: Option<String>,
    },
    /// Who has it was given up.
    #[error("{0}")]
    Over(String),
}

/// The nodes of a cluster. Dropped, all connections end.
pub struct Nodes {
    cluster: String,
    links: Arc<Links>,
    keeper: tokio::task::JoinHandle<()>,
    /// Bytes of answers that wait for their readers, of all conversations.
    pub(super) ahead: AtomicUsize,
    /// What containers publish is forwarded, by whoever has made this.
    publishes: AtomicBool,
}

/// A stream and what it leads to.
pub struct Opened<T> {
    pub stream: T,
    pub link: Arc<Link>,
}

impl Nodes {
    /// Connects to the nodes in the order they are given, and follows changes of the list.
    #[must_use]
    pub fn new(
        cluster: &str,
        wanted: watch::Receiver<Vec<Node>>,
        pin: Pin,
        say: impl Fn(Event) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let links = Arc::new(Links::new(wanted, pin, Box::new(say)));
        let keeper = tokio::spawn(keeper::keep(links.clone()));
        Arc::new(Self {
            cluster: cluster.to_owned(),
            links,
            keeper,
            ahead: AtomicUsize::new(0),
            publishes: AtomicBool::new(false),
        })
    }

    /// Waits until there is a home.
    ///
    /// # Errors
    /// When there is none after `limit`.
    pub async fn ready(&self, limit: Duration) -> Result<String, Refused> {
        let deadline = Instant::now() + limit;
        let mut changes = self.links.changed.subscribe();
        loop {
            if let Some(home) = self.links.state().homes.home() {
                return Ok(home.to_owned());
            }
            if timeout_at(deadline, changes.changed()).await.is_err() {
                return Err(self.nobody(None));
            }
        }
    }

    /// Says in [`status`](Self::status) whether ports that containers publish are forwarded.
    pub fn set_publishes(&self, publishes: bool) {
        self.publishes.store(publishes, Ordering::Relaxed);
    }

    /// What this is attached to.
    #[must_use]
    pub fn status(&self) -> Status {
        let manager = self.links.state().homes.home().map(str::to_owned);
        Status { cluster: self.cluster.clone(), manager, publishes: self.publishes.load(Ordering::Relaxed) }
    }

    /// A stream that shares a connection with others. What an earlier question left is taken where it leads there.
    pub(super) async fn shared(
        &self,
        question: &mut Question,
        left: Option<Opened<Pipe>>,
    ) -> Result<Opened<Pipe>, Refused> {
        // A swarm's thing that must not be sent twice is sent where somebody is sure to read it; an engine's
        // thing can be sent nowhere else, and waits on its way as well as here.
        let surely = question.changes_something() && !question.is_an_engines();
        if let Some(mut left) = left.filter(|_| !surely)
            && let Some(link) = self.links.place(question)?
            && Arc::ptr_eq(&link, &left.link)
            && !link.is_suspect()
            && !left.stream.drain.is_over()
        {
            return Ok(left);
        }
        self.open(question, |link| async move { link.shared(surely).await }).await
    }

    /// A stream with a connection of its own.
    pub(super) async fn own(&self, question: &mut Question) -> Result<Opened<Own>, Refused> {
        self.open(question, |link| async move { link.own().await }).await
    }

    async fn open<T, F>(&self, question: &mut Question, open: impl Fn(Arc<Link>) -> F) -> Result<Opened<T>, Refused>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, HostError>> + Send + 'static,
    {
        let deadline = Instant::now() + WAIT;
        let mut last = None;
        let mut changes = self.links.changed.subscribe();
        loop {
            changes.mark_unchanged();
            let place = self.links.place(question)?;
            let waits = place.is_none();
            if let Some(link) = place {
                // A task of its own: a stream that is opened too late is closed there.
                let mut first = tokio::spawn(open(link.clone()));
                let answer = tokio::select! {
                    answer = &mut first => (answer, link),
                    other = self.another(question, &link, Instant::now() + link.late()) => {
                        let mut second = tokio::spawn(open(other.clone()));
                        tokio::select! {
                            answer = &mut first => (answer, link),
                            answer = &mut second => (answer, other),
                        }
                    }
                };
                match answer {
                    (Ok(Ok(stream)), link) => return Ok(Opened { stream, link }),
                    (Ok(Err(error)), link) => {
                        tracing::debug!(node = link.name, %error, "no stream");
                        last = Some(error.to_string());
                    }
                    (Err(_), _) => {}
                }
            }
            // How long home is waited for is decided where it is given up.
            let decided_elsewhere = question.is_an_engines() && self.links.state().homes.home().is_some();
            if !decided_elsewhere && Instant::now() >= deadline {
                return Err(self.nobody(last));
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = sleep(ONCE_MORE), if !waits => {}
                () = sleep_until(deadline), if !decided_elsewhere => {}
            }
        }
    }

    /// Waits until somebody else may be asked the same; for ever where it is an engine's.
    async fn another(&self, question: &Question, silent: &Arc<Link>, not_before: Instant) -> Arc<Link> {
        if question.is_an_engines() {
            std::future::pending::<()>().await;
        }
        let mut changes = self.links.changed.subscribe();
        sleep_until(not_before).await;
        loop {
            changes.mark_unchanged();
            if let Some(other) = self.links.elsewhere(question, silent) {
                return other;
            }
            let _ = changes.changed().await;
        }
    }

    /// Waits until a question that was sent is better asked once more somewhere else.
    pub(super) async fn late(&self, question: &Question, sent: Instant, link: &Arc<Link>) {
        if question.is_an_engines() || question.changes_something() || question.is_answered() {
            std::future::pending::<()>().await;
        }
        let mut changes = self.links.changed.subscribe();
        sleep_until(sent + link.late()).await;
        while self.after(question, Trouble::Late) != Next::Again {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What becomes of a question after this.
    pub(super) fn after(&self, question: &Question, trouble: Trouble) -> Next {
        question.after(trouble, &self.links.state().homes)
    }

    /// Something may have been made at this node.
    pub(super) fn made_at(&self, node: &str) {
        self.links.state().homes.made_at(node);
    }

    /// What an error about an engine's things says besides.
    pub(super) fn note(&self) -> Option<String> {
        self.links.state().homes.note()
    }

    /// A question about an engine's things is under way as long as this is kept.
    pub(super) fn under_way(&self) -> UnderWay<'_> {
        self.links.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(&self.links.under_way)
    }

    fn nobody(&self, last: Option<String>) -> Refused {
        let state = self.links.state();
        let mut troubles = state.troubles.iter().map(|(node, why)| format!("{node}: {why}"));
        let why = last.or_else(|| troubles.next_back());
        let why = why.unwrap_or_else(|| "none has let us in yet".to_owned());
        Refused::Nobody { cluster: self.cluster.clone(), why: Some(why) }
    }
}

/// A question that is under way.
pub(super) struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.keeper.abort();
        for link in self.links.state().links.drain(..) {
            link.cut("it is not needed any more");
        }
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes").field("links", &self.links.state().links).finish()
    }
}
