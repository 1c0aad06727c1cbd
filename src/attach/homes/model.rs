//! A world of nodes that freeze and die at any time, and questions asked in it: what is promised holds in all of them.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::attach::{
    rhythm::{DEAD, LATE, SUSPECT},
    routes::{Owner, Repeat},
};

const TICK: u64 = 50;
/// A connection is made again at most so long after its host answers.
const RECONNECTS: u64 = 1000;
const NODES: [&str; 3] = ["m0", "m1", "m2"];
const LENGTH: u64 = 40_000;

/// A time in which a node does nothing.
#[derive(Clone, Debug)]
struct Freeze {
    node: usize,
    from: u64,
    until: u64,
}

#[derive(Clone, Debug)]
struct Asked {
    at: u64,
    owner: Owner,
    repeat: Repeat,
}

/// A node as it is, and the connection as the attach has it.
#[derive(Default)]
struct Node {
    silent: u64,
    connected: bool,
    reconnects_at: Option<u64>,
}

/// A question on its way.
struct Flight {
    asked: Asked,
    question: Question,
    home: Option<String>,
    /// Sent there, then; a node that is frozen reads it when it goes on.
    sent: Vec<(usize, u64)>,
    waits_there: bool,
    ended: Option<(u64, Result<usize, String>)>,
}

fn frozen(freezes: &[Freeze], node: usize, at: u64) -> bool {
    freezes.iter().any(|f| f.node == node && (f.from..f.until).contains(&at))
}

fn ms(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap()
}

/// Plays the world; gives the flights and every change of home with its time.
fn play(freezes: &[Freeze], asked: Vec<Asked>, pinned: bool) -> (Vec<Flight>, Vec<(u64, Change)>) {
    let mut homes = Homes::new(if pinned { Pin::First } else { Pin::Free });
    let mut nodes: Vec<Node> = NODES.iter().map(|_| Node { connected: true, ..Node::default() }).collect();
    let mut flights: Vec<Flight> = asked
        .into_iter()
        .map(|asked| {
            let question = Question::new(asked.owner, asked.repeat);
            Flight { asked, question, home: None, sent: Vec::new(), waits_there: false, ended: None }
        })
        .collect();
    let wanted: Vec<String> = NODES.map(str::to_owned).to_vec();
    let mut changes = Vec::new();
    for now in (0..LENGTH).step_by(usize::try_from(TICK).unwrap()) {
        let mut lost = BTreeMap::new();
        for (i, node) in nodes.iter_mut().enumerate() {
            let is_frozen = frozen(freezes, i, now);
            node.silent = if is_frozen { node.silent + TICK } else { 0 };
            if node.connected && node.silent >= ms(DEAD) {
                node.connected = false;
                lost.insert(i, ());
            }
            if !node.connected && !is_frozen {
                let due = *node.reconnects_at.get_or_insert(now + RECONNECTS);
                if now >= due {
                    (node.connected, node.reconnects_at) = (true, None);
                }
            }
            if is_frozen {
                node.reconnects_at = None;
            }
        }
        let sights = nodes.iter().enumerate().filter(|(_, n)| n.connected).map(|(i, n)| Sight {
            name: NODES[i].to_owned(),
            manager: true,
            leader: i == 1,
            hears: n.silent < ms(SUSPECT),
            engine: true,
            swarm: true,
        });
        let found = homes.look(Duration::from_millis(now), sights.collect(), &wanted, false);
        changes.extend(found.into_iter().map(|change| (now, change)));
        for flight in flights.iter_mut().filter(|f| f.asked.at <= now && f.ended.is_none()) {
            step(flight, now, &homes, &lost, freezes);
        }
    }
    (flights, changes)
}

/// What happens to one question in one moment, as the conversation has it.
fn step(flight: &mut Flight, now: u64, homes: &Homes, lost: &BTreeMap<usize, ()>, freezes: &[Freeze]) {
    if flight.home.is_none() {
        flight.home = homes.home().map(str::to_owned);
    }
    if flight.waits_there {
        let (node, since) = *flight.sent.last().unwrap();
        let trouble = if lost.contains_key(&node) {
            Some(Trouble::Ended)
        } else if !frozen(freezes, node, now) {
            flight.question.answered();
            flight.ended = Some((now, Ok(node)));
            return;
        } else {
            (now - since >= ms(LATE)).then_some(Trouble::Late)
        };
        match trouble.map(|trouble| flight.question.after(trouble, homes)) {
            Some(Next::Again) => flight.waits_there = false,
            Some(Next::Failed) => flight.ended = Some((now, Err("it may have been done".to_owned()))),
            Some(Next::Stay) | None => return,
        }
    }
    if flight.ended.is_some() {
        return;
    }
    match flight.question.place(homes) {
        Place::Wait => {}
        Place::Over(why) => flight.ended = Some((now, Err(why))),
        Place::At(name) => {
            flight.question.sent(&name);
            flight.sent.push((NODES.iter().position(|n| *n == name).unwrap(), now));
            flight.waits_there = true;
        }
    }
}

fn freezes() -> impl Strategy<Value = Vec<Freeze>> {
    let length = prop_oneof![3 => 100..2000_u64, 2 => 2000..6000_u64, 1 => 6000..20_000_u64];
    prop::collection::vec((0..NODES.len(), 500..25_000_u64, length), 0..6).prop_map(|all| {
        all.into_iter().map(|(node, from, length)| Freeze { node, from, until: from + length }).collect()
    })
}

fn asked() -> impl Strategy<Value = Vec<Asked>> {
    let owner = prop_oneof![Just(Owner::Engine), Just(Owner::Swarm), Just(Owner::SwarmAndHome), Just(Owner::Anyone)];
    let one = (0..25_000_u64, owner, any::<bool>()).prop_map(|(at, owner, again)| Asked {
        at: at / TICK * TICK,
        owner,
        repeat: if again || owner == Owner::Anyone { Repeat::Again } else { Repeat::Once },
    });
    prop::collection::vec(one, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_promised_holds_whenever_nodes_freeze(freezes in freezes(), asked in asked(), pinned in any::<bool>()) {
        let (flights, changes) = play(&freezes, asked, pinned);
        for flight in &flights {
            let Asked { at, owner, repeat } = flight.asked;
            let Some((ended, result)) = &flight.ended else {
                return Err(TestCaseError::fail(format!("{:?} has no end", flight.asked)));
            };
            if repeat == Repeat::Once {
                prop_assert!(flight.sent.len() <= 1, "{:?} was sent {:?}", flight.asked, flight.sent);
            }
            match (owner, result) {
                (Owner::Engine, Ok(node)) => {
                    prop_assert_eq!(Some(NODES[*node]), flight.home.as_deref(), "another engine answered {:?}", &flight.asked);
                }
                (Owner::Engine, Err(why)) => prop_assert!(!why.is_empty()),
                _ => {}
            }
            if owner == Owner::Engine {
                prop_assert!(flight.sent.iter().all(|(node, _)| Some(NODES[*node]) == flight.home.as_deref()));
            }
            // The last moment at which everybody but one had been well for a while: then the swarm answers at once.
            let well = (0..NODES.len()).filter(|n| freezes.iter().all(|f| f.node != *n || f.until + ms(DEAD) + RECONNECTS < at || f.from > at + 1000)).count();
            if owner != Owner::Engine && repeat == Repeat::Again && well >= NODES.len() - 1 {
                prop_assert!(ended - at <= 1000, "{:?} took {} ms: {:?}", flight.asked, ended - at, flight.sent);
                prop_assert!(result.is_ok());
            }
        }
        for (at, change) in &changes {
            match change {
                Change::Home { instead_of: Some(before), back: false, .. } | Change::GivenUp { node: before } => {
                    let node = NODES.iter().position(|n| n == before).unwrap();
                    let was_away = freezes.iter().any(|f| f.node == node && f.from + ms(DEAD) + ms(AWAY) <= at + 2 * TICK);
                    prop_assert!(was_away, "{before} was left at {at} for nothing");
                    prop_assert!(!pinned || matches!(change, Change::GivenUp { .. }), "a pinned home was left");
                }
                _ => {}
            }
        }
        if !pinned && freezes.iter().all(|f| f.until + RECONNECTS + ms(STEADY) + 500 < LENGTH) {
            let last = changes.iter().rev().find_map(|(_, c)| match c { Change::Home { node, .. } => Some(node.as_str()), _ => None });
            let first = changes.iter().find_map(|(_, c)| match c { Change::Home { node, .. } => Some(node.as_str()), _ => None });
            prop_assert_eq!(last, first, "it did not go back: {:?}", &changes);
        }
    }
}
