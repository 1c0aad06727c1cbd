//! Two operators and one Lease, at a real API server: never two that lead, and not long nobody.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use kube::Client;
use testkit::{
    fence::Fence,
    operator::{Elector, LeaseName},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::api_server::Namespace;

/// A Lease that is released is not waited for until it runs out. That it is taken within a second is held by the tests
/// of `operator/leader`, whose API server has nothing else to do.
const HANDED_OVER: Duration = Duration::from_secs(5);
/// How long a Lease is left alone whose holder is killed: 15 s from when its last renewal was seen, which may have been
/// ten seconds before its death; and the time that a busy API server takes.
const HELD: Duration = Duration::from_secs(5);
const RUN_OUT: Duration = Duration::from_secs(30);
/// How long anything may take at all.
const PATIENCE: Duration = Duration::from_secs(90);

/// What happens, in the order it does.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Leads(&'static str),
    Lost(&'static str, String),
}

/// An operator, as far as its election goes.
struct Candidate {
    task: JoinHandle<()>,
    release: Option<oneshot::Sender<()>>,
    fence: Fence,
    /// Whether it knows who holds the Lease.
    looked: watch::Receiver<bool>,
}

#[derive(Clone)]
struct Election {
    lease: LeaseName,
    leading: Arc<AtomicUsize>,
    /// The most that led at once.
    most: Arc<Mutex<usize>>,
    told: mpsc::UnboundedSender<Told>,
}

impl Election {
    /// Begins to take part: leads, and holds the Lease until it is told to release it.
    async fn join(&self, name: &'static str) -> Candidate {
        let client = Client::try_default().await.unwrap();
        let (fence, (look, looked)) = (Fence::default(), watch::channel(false));
        let mut elector = Elector::new(client, &self.lease, fence.clone(), move |who| {
            look.send_replace(who.is_ok());
        });
        let (release, released) = oneshot::channel::<()>();
        let election = self.clone();
        let task = tokio::spawn(async move {
            elector.lead().await.unwrap();
            let now = election.leading.fetch_add(1, Ordering::SeqCst) + 1;
            let leads = Leads(election.leading.clone());
            {
                let mut most = election.most.lock().unwrap();
                *most = (*most).max(now);
            }
            election.told.send(Told::Leads(name)).unwrap();
            let released: BoxFuture<'_, ()> = released.map(drop).boxed();
            tokio::select! {
                error = elector.hold() => {
                    drop(leads);
                    election.told.send(Told::Lost(name, error.to_string())).unwrap();
                }
                () = released => {
                    drop(leads);
                    elector.release().await;
                }
            }
        });
        Candidate { task, release: Some(release), fence, looked }
    }
}

/// Counts who leads: dropped with its task, too.
struct Leads(Arc<AtomicUsize>);

impl Drop for Leads {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Candidate {
    /// SIGKILL: nothing of it happens any more.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    async fn stands_by(&mut self) {
        tokio::time::timeout(PATIENCE, self.looked.wait_for(|looked| *looked)).await.unwrap().unwrap();
    }
}

async fn next(told: &mut mpsc::UnboundedReceiver<Told>) -> Told {
    tokio::time::timeout(PATIENCE, told.recv()).await.unwrap_or_else(|_| panic!("nobody leads")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_at_once_and_taken_over_in_time() {
    let namespace = tokio::task::spawn_blocking(|| Namespace::new("election")).await.unwrap();
    let lease = LeaseName { namespace: namespace.name().to_owned(), name: "operator".to_owned() };
    let (told, mut hears) = mpsc::unbounded_channel();
    let election = Election { lease, leading: Arc::default(), most: Arc::default(), told };

    let mut first = election.join("first").await;
    assert_eq!(next(&mut hears).await, Told::Leads("first"));
    assert!(first.fence.check().is_ok());
    let mut second = election.join("second").await;
    second.stands_by().await;
    assert!(second.fence.check().is_err(), "who stands by may do nothing");
    assert_eq!(hears.try_recv().ok(), None, "the Lease is the first one's");

    // SIGTERM.
    let asked = Instant::now();
    first.release.take().unwrap().send(()).unwrap();
    assert_eq!(next(&mut hears).await, Told::Leads("second"));
    let took = asked.elapsed();
    assert!(took < HANDED_OVER, "the hand-over took {took:?}");
    assert!(first.fence.check().is_err() && second.fence.check().is_ok());
    first.task.await.unwrap();

    // SIGKILL: the third one has the Lease when it has run out, and not before.
    let mut third = election.join("third").await;
    third.stands_by().await;
    let killed = Instant::now();
    second.kill().await;
    assert_eq!(next(&mut hears).await, Told::Leads("third"));
    let took = killed.elapsed();
    assert!(took < RUN_OUT, "the takeover took {took:?}");
    assert!(took > HELD, "the Lease was taken after {took:?}, while it held");

    // Somebody takes the Lease away: the third one notices, and does nothing any more.
    let patch = serde_json::json!({"spec": {"holderIdentity": "somebody-else"}});
    tokio::task::spawn_blocking(move || {
        namespace.patch("lease/operator", &patch).unwrap();
        namespace
    })
    .await
    .unwrap();
    assert!(matches!(next(&mut hears).await, Told::Lost("third", why) if why.contains("is lost")));
    assert!(third.fence.check().is_err());
    assert_eq!(*election.most.lock().unwrap(), 1, "two led at once");
}
