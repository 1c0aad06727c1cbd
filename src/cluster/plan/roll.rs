//! Machines that are not as the spec asks for any more give way to others that are: workers by
//! `spec.update`, then managers one by one, the leader last.
//!
//! Where there may be one machine more, a successor is launched for the same slot and takes it over
//! once it is ready; only then does its predecessor drain. Else a machine goes first. Which step is
//! next is decided anew in every pass, from what is there: a spec that is changed back, or again,
//! needs no rule of its own. Nothing begins while a machine of the same role is not well, so that
//! a step which does not come back healthy is the last one.

use std::collections::BTreeSet;

use super::{Pass, Wait, World, boot, interruption};
use crate::{
    api::{NodeRole, SwarmClusterSpec, label},
    cluster::{
        journal::{Journal, Launching},
        losses::Cause,
        member::{Member, MemberId, Members},
        roster,
        slot::Slot,
        template::{differing, template, terms},
    },
};

/// Whether machines are to be replaced, or are being.
#[must_use]
pub fn rolls(spec: &SwarmClusterSpec, world: &World) -> bool {
    let Some(journal) = &world.journal else { return false };
    if world.given.as_ref().is_some_and(|given| roster::changes(given, journal)) {
        return true;
    }
    let members = Members::join(world);
    let replaced = members.iter().any(|m| !m.holds && members.holder(m.id.slot).is_some());
    replaced || members.holders().any(|m| m.ends.is_yes() || !differences(m, journal, spec).is_empty())
}

/// One that took over is lost before its predecessor is gone: that one fills the slot again.
pub fn fall_back(pass: &mut Pass<'_>) {
    let members = pass.members;
    let there = |slot: &String, made: &Launching| {
        slot.parse().is_ok_and(|slot| members.get(MemberId { slot, incarnation: made.incarnation }).is_some())
    };
    let journal = &mut pass.journal;
    journal.predecessors.retain(|slot, before| there(slot, before));
    let taken_over = |slot: &String| journal.launches.get(slot).is_some_and(|made| there(slot, made));
    let (_, back): (Vec<_>, Vec<_>) = journal.predecessors.keys().cloned().partition(taken_over);
    let instances = pass.world.instances.as_deref().unwrap_or_default();
    for key in back {
        let Some(before) = pass.journal.predecessors.remove(&key) else { continue };
        let Some(lost) = pass.journal.launches.insert(key.clone(), before) else { continue };
        let spent = pass.journal.spent.entry(key.clone()).or_default();
        *spent = (*spent).max(lost.incarnation);
        if let Ok(slot) = key.parse() {
            boot::note_ended(pass, instances, slot, &lost);
        }
    }
}

/// Tells who is not as the spec asks for.
pub fn compare(pass: &mut Pass<'_>) {
    for slot in pass.slots.clone() {
        let Some(holder) = pass.members.holder(slot).filter(|m| !pass.journal.lost(m.id)) else { continue };
        let parts = differences(holder, &pass.journal, pass.spec);
        if !parts.is_empty() {
            pass.plan.outdated.insert(holder.id, parts);
        }
    }
}

/// By which fields of the spec the one that fills a slot differs from it.
fn differences(holder: &Member<'_>, journal: &Journal, spec: &SwarmClusterSpec) -> Vec<String> {
    match journal.launches.get(&holder.id.slot.to_string()) {
        Some(made) if made.incarnation == holder.id.incarnation => differing(made, holder.id.slot.role, spec),
        _ => Vec::new(),
    }
}

/// Lets successors that are ready take over, drops those that are not asked for any more, and
/// chooses who is replaced next.
pub fn advance(pass: &mut Pass<'_>) {
    adopt(pass);
    interruption::hear(pass);
    succession(pass);
    begin(pass);
}

/// What was not written down of a launch is taken to be what the spec asks for when that is first
/// seen: a version that takes more of the spec into account replaces nobody for it.
fn adopt(pass: &mut Pass<'_>) {
    let now = template(pass.spec);
    let asked = |role| pass.spec.provider.ec2.as_ref().is_some_and(|e| e.spot_for(role));
    for member in pass.members.holders().filter(|m| pass.slots.contains(&m.id.slot)) {
        let (instance, incarnation) = (member.instance, member.id.incarnation);
        pass.journal.launches.entry(member.id.slot.to_string()).or_insert_with(|| {
            let (instance_type, subnet) = (instance.instance_type.clone(), instance.subnet.clone());
            let offering = crate::cloud::Offering { instance_type, subnet, spot: asked(member.id.slot.role) };
            Launching { incarnation, offering, booted: true, template: now.clone(), ends: None }
        });
    }
    let journal = &mut pass.journal;
    for made in journal.launches.values_mut().chain(journal.successors.values_mut()) {
        for (part, value) in &now {
            made.template.entry(part.clone()).or_insert_with(|| value.clone());
        }
    }
}

/// What becomes of successors.
fn succession(pass: &mut Pass<'_>) {
    for slot in pass.slots.clone() {
        let Some(next) = pass.journal.successors.get(&slot.to_string()).cloned() else { continue };
        let id = MemberId { slot, incarnation: next.incarnation };
        let Some(holder) = pass.members.holder(slot).filter(|m| m.id != id) else {
            take_over(pass, slot, None);
            continue;
        };
        let ready = pass.members.get(id).is_some_and(Member::healthy);
        let stays = pass.members.get(id).is_none_or(|m| !m.ends.is_yes());
        let goes = holder.ends.is_yes() || pass.plan.outdated.contains_key(&holder.id);
        let asked_for = goes && stays && differing(&next, slot.role, pass.spec).is_empty();
        // One that is ready is better than none, whatever it was launched by.
        let needed = asked_for || ready && (!holder.healthy() || stays && holder.ends.is_yes());
        if pass.world.kept.contains(&slot) || !needed {
            drop_successor(pass, holder.id);
        } else if ready {
            take_over(pass, slot, Some(holder.id));
        }
    }
}

fn take_over(pass: &mut Pass<'_>, slot: Slot, from: Option<MemberId>) {
    let key = slot.to_string();
    if let Some(next) = pass.journal.successors.remove(&key) {
        let before = pass.journal.launches.insert(key.clone(), next);
        let before = before.filter(|b| from.is_some_and(|id| id.incarnation == b.incarnation));
        pass.journal.predecessors.extend(before.map(|b| (key, b)));
        // What follows from it is decided by the picture that knows of it.
        pass.wake_at(pass.now);
    }
    if let Some(from) = from {
        pass.plan.outdated.remove(&from);
    }
}

/// The one that fills the slot stays.
fn drop_successor(pass: &mut Pass<'_>, holder: MemberId) {
    let key = holder.slot.to_string();
    if let Some(next) = pass.journal.successors.remove(&key) {
        let spent = pass.journal.spent.entry(key.clone()).or_default();
        *spent = (*spent).max(next.incarnation);
    }
    // What became of successors says nothing of the one that stays.
    if pass.journal.losses.get(&key).is_some_and(|l| l.incarnation > holder.incarnation) {
        pass.journal.losses.remove(&key);
    }
}

/// How it stands with the machines of a role.
struct Standing {
    /// Slots without a machine that is well; those that are kept by hand do not count.
    unwell: BTreeSet<Slot>,
    /// Machines beside those that fill a slot, and those that are asked for.
    extra: usize,
}

fn standing(pass: &Pass<'_>, role: NodeRole) -> Standing {
    let well = |slot: Slot| pass.members.holder(slot).is_some_and(|m| m.healthy() && !pass.journal.lost(m.id));
    let counts = |slot: &Slot| slot.role == role && !pass.world.kept.contains(slot);
    let unwell = pass.slots.iter().copied().filter(|s| counts(s) && !well(*s)).collect();
    let fills = |m: &Member<'_>| m.holds && pass.slots.contains(&m.id.slot);
    let more = pass.members.iter().filter(|m| m.id.slot.role == role && !fills(m)).count();
    let asked = pass.journal.successors.iter().filter_map(|(slot, next)| {
        let slot: Slot = slot.parse().ok()?;
        Some(MemberId { slot, incarnation: next.incarnation })
    });
    let asked = asked.filter(|id| id.slot.role == role && pass.members.get(*id).is_none()).count();
    Standing { unwell, extra: more + asked }
}

/// Slots whose last instance came to nothing by this very spec, and was not made up for.
fn failing(pass: &Pass<'_>) -> BTreeSet<Slot> {
    let terms = terms(pass.spec, &pass.world.access);
    let fails = |slot: &Slot| {
        let Some(losses) = pass.journal.losses.get(&slot.to_string()) else { return false };
        let later = pass.members.holder(*slot).is_some_and(|m| m.id.incarnation > losses.incarnation);
        losses.count > 0 && losses.spec == terms && losses.cause != Cause::Outdated && !later
    };
    pass.slots.iter().copied().filter(fails).collect()
}

/// On its way out already, to make room for another one.
fn leaving(member: &Member<'_>) -> bool {
    let manages = member.id.slot.role == NodeRole::Manager;
    let goes = |n: &crate::swarm::Node| n.labels.contains_key(label::DRAINING) || manages && n.role == NodeRole::Worker;
    member.node.yes().is_some_and(goes)
}

/// Chooses who is replaced next, and says why the others are not.
fn begin(pass: &mut Pass<'_>) {
    if pass.members.heard().is_none() {
        return;
    }
    interruption::rescue(pass);
    let (kept, todo): (Vec<MemberId>, Vec<_>) =
        pass.plan.outdated.keys().copied().partition(|id| pass.world.kept.contains(&id.slot));
    let taken_back = |id: &MemberId| pass.members.get(*id).is_some_and(|m| m.ends.is_yes());
    let todo: Vec<_> = todo.into_iter().filter(|id| !taken_back(id)).collect();
    for id in kept {
        pass.waits(id, Wait::Kept);
    }
    if !pass.world.runs.is_empty() {
        for id in todo {
            pass.waits(id, Wait::Runs);
        }
        return;
    }
    let failing = failing(pass);
    let (managers, workers): (Vec<_>, Vec<_>) = todo.into_iter().partition(|id| id.slot.role == NodeRole::Manager);
    self::workers(pass, &workers, &failing);
    self::managers(pass, &managers, &failing, !workers.is_empty());
}

/// Why a machine is not replaced now whatever the budget, if so. Who is no node is replaced at once.
fn settled(pass: &mut Pass<'_>, member: &Member<'_>, failing: &BTreeSet<Slot>) -> bool {
    let (id, slot) = (member.id, member.id.slot);
    if pass.journal.successors.contains_key(&slot.to_string()) {
        pass.waits(id, Wait::Succeeded);
    } else if !failing.is_empty() && !failing.contains(&slot) {
        pass.waits(id, Wait::Failed);
    } else if member.node.is_no() && member.stale.is_empty() && !pass.world.joining.contains(&id) {
        pass.rolling.push(id);
    } else {
        return false;
    }
    true
}

fn workers(pass: &mut Pass<'_>, outdated: &[MemberId], failing: &BTreeSet<Slot>) {
    let (members, update) = (pass.members, pass.spec.update);
    let (surge, most) = (size(update.max_surge), size(update.max_unavailable));
    let Standing { unwell, mut extra } = standing(pass, NodeRole::Worker);
    let mut todo: Vec<&Member<'_>> = outdated.iter().filter_map(|id| members.get(*id)).collect();
    todo.sort_by_key(|m| (!leaving(m), !failing.contains(&m.id.slot), m.id));
    // Those that are leaving are counted as they go on.
    let mut down = unwell.iter().filter(|s| !todo.iter().any(|m| m.id.slot == **s && leaving(m))).count();
    for member in todo {
        let id = member.id;
        if settled(pass, member, failing) {
        } else if leaving(member) && down < most {
            down += 1;
            pass.rolling.push(id);
        } else if unwell.contains(&id.slot) || down > most {
            pass.waits(id, Wait::Unready);
        } else if extra < surge {
            extra += 1;
            pass.succeeding.insert(id.slot);
        } else if down < most {
            down += 1;
            pass.rolling.push(id);
        } else {
            pass.waits(id, Wait::Budget);
        }
    }
}

fn managers(pass: &mut Pass<'_>, outdated: &[MemberId], failing: &BTreeSet<Slot>, workers: bool) {
    let (members, surge) = (pass.members, pass.spec.update.max_surge > 0);
    let below = standing(pass, NodeRole::Worker);
    let workers = workers || below.extra > 0 || !below.unwell.is_empty();
    let Standing { unwell, extra } = standing(pass, NodeRole::Manager);
    let leads = |m: &Member<'_>| m.node.yes().is_some_and(|n| n.leader);
    let goes = |m: &Member<'_>| !surge && leaving(m);
    let mut todo: Vec<&Member<'_>> = outdated.iter().filter_map(|id| members.get(*id)).collect();
    todo.sort_by_key(|m| (!goes(m), !failing.contains(&m.id.slot), leads(m), m.id));
    let mut busy = extra > 0;
    for member in todo {
        let id = member.id;
        if settled(pass, member, failing) {
        } else if workers {
            pass.waits(id, Wait::Workers);
        } else if busy {
            pass.waits(id, Wait::Budget);
        } else if unwell.iter().any(|slot| *slot != id.slot || !goes(member)) {
            pass.waits(id, Wait::Unready);
        } else if surge {
            busy = true;
            pass.succeeding.insert(id.slot);
        } else if pass.spec.managers == 1 {
            pass.waits(id, Wait::Alone);
        } else {
            busy = true;
            pass.rolling.push(id);
        }
    }
}

/// Why a machine stays for now though another one fills its slot: others are not well, and it is.
pub fn stays(pass: &Pass<'_>, member: &Member<'_>) -> Option<Wait> {
    let (slot, node) = (member.id.slot, member.node.yes()?);
    let role = slot.role;
    let beside = !member.holds && pass.slots.contains(&slot);
    let well = node.ready && node.role == role && (role == NodeRole::Worker || node.reachable);
    let begun = role == NodeRole::Worker && node.labels.contains_key(label::DRAINING);
    if !beside || !well || begun {
        return None;
    }
    if !pass.world.runs.is_empty() {
        return Some(Wait::Runs);
    }
    if interruption::imminent(pass, member) {
        return None;
    }
    let most = if role == NodeRole::Worker { size(pass.spec.update.max_unavailable) } else { 0 };
    (standing(pass, role).unwell.len() > most).then_some(Wait::Unready)
}

fn size(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
