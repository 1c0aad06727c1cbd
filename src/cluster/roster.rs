//! Which machine that exists fills which slot: written down, since nobody else could tell.
//!
//! A machine keeps its slot as long as it has its role, so that its name and what is on it are found
//! again whatever else is on the list. One whose role changes takes a slot of the new role along with
//! the node that it is, which is then promoted or demoted; one whose address changes is another
//! machine, and what was there before goes as if it were off the list.

use serde::{Deserialize, Serialize};

use super::{
    journal::{Journal, Launching},
    member::MemberId,
    slot::Slot,
};
use crate::{
    api::{HostsProvider, NodeRole},
    cloud::{Instance, Login, Machine, Owner},
};

/// The machines that a spec names, and what may be done to them: what a cloud is that makes none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Each with what it is to be, in the spec's order.
    pub machines: Vec<(Machine, NodeRole)>,
    /// An engine may be installed where there is none.
    pub install: bool,
}

/// A machine that was taken for a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    /// The slot, and which of the machines that ever filled it this is.
    pub id: MemberId,
    /// The machine.
    #[serde(flatten)]
    pub machine: Machine,
}

impl Given {
    /// What a spec says.
    #[must_use]
    pub fn of(hosts: &HostsProvider) -> Self {
        let via = hosts.jump_host.as_ref().map(|jump| {
            Box::new(Login { address: jump.address.clone(), port: jump.port, user: jump.user.clone(), via: None })
        });
        let machine = |m: &crate::api::Machine| Machine {
            name: m.name.clone(),
            login: Login { address: m.address.clone(), port: m.port, user: m.user.clone(), via: via.clone() },
            private_address: m.private_address.clone().unwrap_or_else(|| m.address.clone()),
        };
        let machines = hosts.machines.iter().map(|m| (machine(m), m.role)).collect();
        Self { machines, install: hosts.install_engine }
    }

    /// Whether this is still one of them, as it was taken.
    #[must_use]
    pub fn asks_for(&self, taken: &Taken) -> bool {
        let it = |(machine, role): &(Machine, NodeRole)| same(machine, &taken.machine) && *role == taken.id.slot.role;
        self.machines.iter().any(it)
    }
}

/// The slots that are meant, managers first.
#[must_use]
pub fn slots(journal: &Journal) -> Vec<Slot> {
    let mut slots: Vec<Slot> = journal.launches.keys().filter_map(|slot| slot.parse().ok()).collect();
    slots.sort();
    slots
}

/// Whether this machine is the one that fills its slot.
#[must_use]
pub fn fills(journal: &Journal, id: MemberId) -> bool {
    journal.launches.get(&id.slot.to_string()).is_some_and(|l| l.incarnation == id.incarnation)
}

/// Whether a machine that fills a slot is not on the list any more, or not as it was.
#[must_use]
pub fn changes(given: &Given, journal: &Journal) -> bool {
    journal.taken.iter().any(|t| fills(journal, t.id) && !given.asks_for(t))
}

/// Whether runs that are under way keep a changed list from being taken up: what they have is on these machines.
/// Others may come meanwhile.
#[must_use]
pub fn held(given: &Given, journal: &Journal, runs: &[String]) -> bool {
    !runs.is_empty() && changes(given, journal)
}

/// The machines that are taken, as instances.
#[must_use]
pub fn instances(journal: &Journal, owner: &Owner) -> Vec<Instance> {
    let instance = |t: &Taken| {
        let mut instance = t.machine.instance(owner, &t.id.slot.to_string(), t.id.incarnation);
        // Of two of one name it is the one that is on its way out.
        let twice = journal.taken.iter().filter(|o| o.machine.name == t.machine.name).count() > 1;
        if twice && !fills(journal, t.id) {
            instance.id = format!("{}/{}", instance.id, t.id);
        }
        instance
    };
    journal.taken.iter().map(instance).collect()
}

/// Takes what is named and was not taken yet, and brings what was taken to how it is named now.
pub fn take(given: &Given, journal: &mut Journal) {
    for (machine, role) in &given.machines {
        match journal.taken.iter().position(|t| same(machine, &t.machine)) {
            Some(n) => {
                // Who logs in, and by which way, changes nothing of the machine.
                journal.taken[n].machine = machine.clone();
                let before = journal.taken[n].id;
                if before.slot.role != *role {
                    let id = free(journal, *role);
                    journal.taken[n].id = id;
                    spend(journal, before);
                    journal.swarm = journal.swarm.map(|begun| if begun == before { id } else { begun });
                }
            }
            None => {
                let namesake = journal.taken.iter().filter(|t| t.machine.name == machine.name);
                let slot = namesake.map(|t| t.id).filter(|id| id.slot.role == *role).max().map(|id| id.slot);
                let id = slot.map_or_else(|| free(journal, *role), |slot| next(journal, slot));
                journal.taken.push(Taken { id, machine: machine.clone() });
            }
        }
    }
    // Of several of a slot, this is the one that fills it. Whether its engine ever answered, and
    // which swarm it is in, is for itself to say.
    let meant = journal.taken.iter().filter(|t| given.asks_for(t)).map(|t| t.id);
    let launching = |incarnation| Launching { incarnation, booted: true, ..Launching::default() };
    journal.launches = meant.map(|id| (id.slot.to_string(), launching(id.incarnation))).collect();
}

/// Lets a machine go.
pub fn let_go(journal: &mut Journal, id: MemberId) {
    journal.taken.retain(|t| t.id != id);
    spend(journal, id);
}

/// Whether these are one machine: by its name, at the same place. Names in another address's stead are another one.
fn same(a: &Machine, b: &Machine) -> bool {
    let key = |m: &Machine| (m.name.clone(), m.login.address.clone(), m.login.port, m.private_address.clone());
    key(a) == key(b)
}

/// The lowest slot of a role that no machine has.
fn free(journal: &Journal, role: NodeRole) -> MemberId {
    let held = |slot: &Slot| journal.taken.iter().any(|t| t.id.slot == *slot);
    let mut slots = (0..).map(|index| Slot { role, index });
    let slot = slots.find(|slot| !held(slot)).unwrap_or(Slot { role, index: u32::MAX });
    next(journal, slot)
}

/// The next incarnation of a slot: one that never was.
fn next(journal: &Journal, slot: Slot) -> MemberId {
    let used = journal.taken.iter().filter(|t| t.id.slot == slot).map(|t| t.id.incarnation);
    let spent = journal.spent.get(&slot.to_string()).copied();
    MemberId { slot, incarnation: used.chain(spent).max().map_or(0, |last| last.saturating_add(1)) }
}

fn spend(journal: &mut Journal, id: MemberId) {
    let spent = journal.spent.entry(id.slot.to_string()).or_default();
    *spent = (*spent).max(id.incarnation);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Such as `alpha@10.0.0.1 Manager`.
    fn given(list: &[&str]) -> Given {
        let machine = |text: &&str| {
            let (who, role) = text.split_once(' ').unwrap();
            let (name, address) = who.split_once('@').unwrap();
            serde_json::json!({"name": name, "address": address, "role": role})
        };
        let machines: Vec<_> = list.iter().map(machine).collect();
        let hosts = serde_json::json!({"machines": machines, "secretRef": {"name": "lab"}});
        Given::of(&serde_json::from_value(hosts).unwrap())
    }

    fn taken(journal: &Journal) -> Vec<String> {
        let mut all: Vec<_> =
            journal.taken.iter().map(|t| format!("{} {}@{}", t.id, t.machine.name, t.machine.login.address)).collect();
        all.sort();
        all
    }

    #[test]
    fn a_machine_keeps_its_slot_and_none_is_used_twice() {
        let mut journal = Journal::default();
        // What the spec names one after the other, what is taken then, and which slots are meant.
        let table: [(&[&str], &[&str], &[&str]); 6] = [
            (
                &["a@10.0.0.1 Manager", "b@10.0.0.2 Worker", "c@10.0.0.3 Worker"],
                &["m0.0 a@10.0.0.1", "w0.0 b@10.0.0.2", "w1.0 c@10.0.0.3"],
                &["m0", "w0", "w1"],
            ),
            // Another order, and one less: the others stay where they are, and it is not forgotten.
            (
                &["c@10.0.0.3 Worker", "a@10.0.0.1 Manager"],
                &["m0.0 a@10.0.0.1", "w0.0 b@10.0.0.2", "w1.0 c@10.0.0.3"],
                &["m0", "w1"],
            ),
            // Another role takes the machine to a slot of that role.
            (
                &["c@10.0.0.3 Manager", "a@10.0.0.1 Manager", "d@10.0.0.4 Manager"],
                &["m0.0 a@10.0.0.1", "m1.0 c@10.0.0.3", "m2.0 d@10.0.0.4", "w0.0 b@10.0.0.2"],
                &["m0", "m1", "m2"],
            ),
            // Another address is another machine for the same slot.
            (
                &["c@10.0.0.3 Manager", "a@10.0.0.9 Manager", "d@10.0.0.4 Manager"],
                &["m0.0 a@10.0.0.1", "m0.1 a@10.0.0.9", "m1.0 c@10.0.0.3", "m2.0 d@10.0.0.4", "w0.0 b@10.0.0.2"],
                &["m0", "m1", "m2"],
            ),
            // And the first one again is the one that is there still.
            (
                &["c@10.0.0.3 Worker", "a@10.0.0.1 Manager", "d@10.0.0.4 Worker"],
                &["m0.0 a@10.0.0.1", "m0.1 a@10.0.0.9", "w0.0 b@10.0.0.2", "w1.1 c@10.0.0.3", "w2.0 d@10.0.0.4"],
                &["m0", "w1", "w2"],
            ),
            (
                &["e@10.0.0.5 Manager"],
                &[
                    "m0.0 a@10.0.0.1",
                    "m0.1 a@10.0.0.9",
                    "m1.1 e@10.0.0.5",
                    "w0.0 b@10.0.0.2",
                    "w1.1 c@10.0.0.3",
                    "w2.0 d@10.0.0.4",
                ],
                &["m1"],
            ),
        ];
        for (named, now, filled) in table {
            let given = given(named);
            take(&given, &mut journal);
            assert_eq!(taken(&journal), now, "{named:?}");
            let meant: Vec<_> = slots(&journal).iter().map(ToString::to_string).collect();
            assert_eq!(meant, filled, "{named:?}");
            let again = journal.clone();
            take(&given, &mut journal);
            assert_eq!(journal, again, "{named:?}");
            let read: Journal = serde_json::from_value(serde_json::to_value(&journal).unwrap()).unwrap();
            assert_eq!(read, journal);
        }
    }

    #[test]
    fn one_that_was_let_go_comes_back_as_another() {
        let mut journal = Journal::default();
        let both = given(&["a@10.0.0.1 Manager", "b@10.0.0.2 Worker"]);
        take(&both, &mut journal);
        let b = journal.taken[1].id;
        let_go(&mut journal, b);
        take(&both, &mut journal);
        assert_eq!(taken(&journal), ["m0.0 a@10.0.0.1", "w0.1 b@10.0.0.2"]);
    }

    #[test]
    fn the_one_the_swarm_was_begun_on_is_the_same_in_another_role() {
        let mut journal = Journal::default();
        take(&given(&["a@10.0.0.1 Manager", "b@10.0.0.2 Worker"]), &mut journal);
        journal.swarm = Some(journal.taken[0].id);
        take(&given(&["a@10.0.0.1 Worker", "b@10.0.0.2 Manager"]), &mut journal);
        assert_eq!(journal.swarm, Some(journal.taken[0].id));
    }
}
