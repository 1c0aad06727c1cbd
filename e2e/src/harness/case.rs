//! What a case is: a name, what it needs, how long it may take, and its body.
//!
//! Only declarations; running them is in `suite`.

use std::{fmt, sync::Arc, time::Duration};

use anyhow::Result;
use futures::{FutureExt as _, future::BoxFuture};

use super::test::{Run, Test};
use crate::{cli::Disruptive, cluster::Cluster};

/// How long a case may take that says nothing else. Its waits have shorter deadlines of their own, which say
/// more when they pass; this one ends what hangs where nobody expected it.
const TIMEOUT: Duration = Duration::from_secs(180);

/// Why a case is skipped that needs power over hosts.
const NO_HOSTS: &str = "needs power over the nodes' hosts: --hosts COMMAND, as the README tells";

type Body = Arc<dyn Fn(Test) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// One case of the suite.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) timeout: Duration,
    pub(crate) disruptive: bool,
    pub(crate) body: Body,
    needs: Vec<Need>,
}

/// Something a cluster has or has not. A case that lacks one is skipped, and says why.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Need {
    /// Ready and active nodes.
    Nodes(usize),
    /// Managers.
    Managers(usize),
    /// Nodes that are no managers.
    Workers(usize),
    /// A version of the engine's API.
    Api(usize, usize),
    /// An engine that removes the tasks of a removed job, as engines do since swarmkit#3112. Those before leave them, and
    /// nothing in the API takes them away.
    RemovableJobs,
    /// The node whose engine the suite talks to takes tasks: a case has a client there.
    Here,
    /// Power over the nodes' hosts.
    Hosts,
}

impl Case {
    /// A case that needs one node and has the usual time.
    pub(crate) fn new<F, B>(name: &'static str, body: B) -> Self
    where
        B: Fn(Test) -> F + Send + Sync + 'static,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        Self {
            name,
            timeout: TIMEOUT,
            disruptive: false,
            body: Arc::new(move |test| body(test).boxed()),
            needs: Vec::new(),
        }
    }

    /// Skip the case where this is missing.
    pub(crate) fn needs(mut self, need: Need) -> Self {
        self.needs.push(need);
        self
    }

    /// End the case after this long.
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The case disturbs the cluster: it runs alone, last, and only when asked for.
    pub(crate) fn disruptive(mut self) -> Self {
        self.disruptive = true;
        self
    }

    /// Why the case cannot run on this cluster, if so.
    pub(crate) fn missing(&self, run: &Run) -> Option<String> {
        self.needs.iter().find_map(|need| match need {
            Need::Hosts => run.hosts.is_none().then(|| NO_HOSTS.to_owned()),
            need => need.missing(&run.cluster),
        })
    }
}

impl Need {
    fn missing(self, cluster: &Cluster) -> Option<String> {
        match self {
            // Not the cluster's to have.
            Self::Hosts => None,
            Self::Nodes(wanted) => {
                let have = cluster.usable().count();
                (have < wanted).then(|| format!("needs {wanted} ready and active nodes, the swarm has {have}"))
            }
            Self::Managers(wanted) => {
                let have = cluster.nodes.iter().filter(|node| node.manager).count();
                (have < wanted).then(|| format!("needs {wanted} managers, the swarm has {have}"))
            }
            Self::Workers(wanted) => {
                let have = cluster.usable().filter(|node| !node.manager).count();
                (have < wanted).then(|| format!("needs {wanted} workers, the swarm has {have}"))
            }
            Self::RemovableJobs => (cluster.api < (1, 42)).then(|| {
                format!(
                    "needs engine 23.0 or later: {} leaves the tasks of a removed job for good (moby#44312)",
                    cluster.engine_version
                )
            }),
            Self::Here => (!cluster.usable().any(|node| node.id == cluster.node)).then(|| {
                let node = cluster.hostname(&cluster.node);
                format!(
                    "needs a client on {node}, whose engine it talks to, and that takes no tasks: drained or paused"
                )
            }),
            Self::Api(major, minor) => {
                let (have_major, have_minor) = cluster.api;
                (cluster.api < (major, minor)).then(|| {
                    format!(
                        "needs API {major}.{minor}, engine {} has {have_major}.{have_minor}",
                        cluster.engine_version
                    )
                })
            }
        }
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).field("needs", &self.needs).finish_non_exhaustive()
    }
}

/// The cases that were asked for, in the order given: what disturbs the cluster is last.
pub(crate) fn select(
    mut cases: Vec<Case>,
    filters: &[String],
    skip: &[String],
    exact: bool,
    disruptive: Disruptive,
) -> Vec<Case> {
    let hit = |name: &str, filters: &[String]| {
        filters.iter().any(|filter| if exact { name == filter } else { name.contains(filter.as_str()) })
    };
    let right = |case: &Case| match disruptive {
        Disruptive::None => !case.disruptive,
        Disruptive::Also => true,
        Disruptive::Only => case.disruptive,
    };
    cases.retain(|case| (filters.is_empty() || hit(case.name, filters)) && !hit(case.name, skip) && right(case));
    cases.sort_by_key(|case| case.disruptive);
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(filters: &[&str], skip: &[&str], exact: bool, disruptive: Disruptive) -> Vec<&'static str> {
        let mut cases: Vec<Case> = ["LeaderRestart", "ServicesList", "ServicesScale", "NetworkExternalLb"]
            .map(|n| Case::new(n, |_| async { Ok(()) }))
            .into();
        cases[0].disruptive = true;
        let owned = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        select(cases, &owned(filters), &owned(skip), exact, disruptive).iter().map(|case| case.name).collect()
    }

    #[test]
    fn no_filter_chooses_all_that_leave_the_cluster_alone() {
        assert_eq!(chosen(&[], &[], false, Disruptive::None), ["ServicesList", "ServicesScale", "NetworkExternalLb"]);
    }

    #[test]
    fn disruptive_cases_come_last() {
        assert_eq!(chosen(&[], &[], false, Disruptive::Also).last(), Some(&"LeaderRestart"));
        assert_eq!(chosen(&[], &[], false, Disruptive::Only), ["LeaderRestart"]);
    }

    #[test]
    fn any_filter_may_match_and_any_skip_may_exclude() {
        assert_eq!(
            chosen(&["Services", "Lb"], &["Scale"], false, Disruptive::None),
            ["ServicesList", "NetworkExternalLb"]
        );
    }

    #[test]
    fn exact_is_the_whole_name_for_filters_and_skips() {
        assert_eq!(chosen(&["Services"], &[], true, Disruptive::None), [""; 0]);
        assert_eq!(chosen(&["ServicesList"], &["Services"], true, Disruptive::None), ["ServicesList"]);
    }
}
