//! Processes with clocks of their own, before an API server that some of them do not reach all the time.
//!
//! What is looked for is two that lead at once. Each process goes by the same [`Election`] as the operator, and as the
//! operator does it: a leader's request is given up when its time is over, and its work has ended a moment after.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    ops::RangeInclusive,
};

use super::*;

/// How many worlds are looked at, and how long each is, in milliseconds.
const WORLDS: u64 = 300;
const END: u64 = 1_200_000;
/// How long the work of an ex-leader takes to end, at most: what the operator gives it.
const CUT: u64 = 300;
/// Clocks that run 12 percent too slow or too fast, in thousandths.
const RATES: RangeInclusive<u64> = 880..=1120;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// It does what comes next.
    Step,
    /// A request reaches the API server.
    Reach(u64, Request),
    /// A request is given up.
    GiveUp(u64),
    /// A request is answered.
    Answered(u64),
    /// What befalls it.
    Trouble,
}

/// To read, or to write this over its version: who holds it, and for how long.
type Request = Option<(Option<String>, Duration, String)>;

/// When something happens, in which order, to which process in which of its lives.
type Due = (u64, u64, usize, u64, Event);

struct Process {
    /// Events of an earlier life mean nothing.
    life: u64,
    election: Election,
    /// How fast its clock runs, in thousandths.
    rate: u64,
    began: u64,
    /// The request under way, and when it was sent by its clock.
    asked: Option<(u64, Moment)>,
    /// Until when it is cut off.
    cut_off: u64,
}

impl Process {
    fn new(at: usize, life: u64, began: u64, timing: Timing, rate: u64) -> Self {
        let election = Election::new(format!("{at}.{life}"), timing);
        Self { life, election, rate, began, asked: None, cut_off: 0 }
    }

    fn clock(&self, now: u64) -> Moment {
        Moment::from_micros((now - self.began) * self.rate)
    }

    /// The first millisecond at which its clock says so.
    fn when(&self, at: Moment) -> u64 {
        self.began + u64::try_from(at.as_micros()).unwrap().div_ceil(self.rate)
    }
}

struct World {
    random: fastrand::Rng,
    timing: Timing,
    queue: BinaryHeap<Reverse<Due>>,
    serial: u64,
    answers: BTreeMap<u64, Answer>,
    lease: Option<Record>,
    version: u64,
    all: Vec<Process>,
    leads: BTreeSet<usize>,
    /// When the work of the last leader had ended.
    ended: u64,
    reigns: usize,
    two: Option<u64>,
}

/// How often somebody began to lead, and when two did.
fn live(seed: u64, timing: Timing, rates: &RangeInclusive<u64>) -> (usize, Option<u64>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let count = random.usize(2..=4);
    let all =
        (0..count).map(|at| Process::new(at, 0, random.u64(0..5000), timing, random.u64(rates.clone()))).collect();
    let mut world = World {
        random,
        timing,
        queue: BinaryHeap::new(),
        serial: 0,
        answers: BTreeMap::new(),
        lease: None,
        version: 0,
        all,
        leads: BTreeSet::new(),
        ended: 0,
        reigns: 0,
        two: None,
    };
    (0..count).for_each(|at| world.begin(at));
    while let Some(Reverse((now, _, at, life, event))) = world.queue.pop() {
        if now > END {
            break;
        }
        match event {
            // It is under way, whatever became of who sent it.
            Event::Reach(serial, request) => world.reach(now, at, life, serial, request),
            event if world.all[at].life == life => world.happen(now, at, &event),
            _ => {}
        }
    }
    (world.reigns, world.two)
}

impl World {
    fn push(&mut self, when: u64, at: usize, event: Event) {
        self.serial += 1;
        self.queue.push(Reverse((when, self.serial, at, self.all[at].life, event)));
    }

    fn begin(&mut self, at: usize) {
        let began = self.all[at].began;
        self.push(began, at, Event::Step);
        let trouble = began + self.random.u64(1000..90_000);
        self.push(trouble, at, Event::Trouble);
    }

    fn happen(&mut self, now: u64, at: usize, event: &Event) {
        let asked = self.all[at].asked.map(|(serial, _)| serial);
        match event {
            Event::Step => self.step(now, at),
            Event::GiveUp(serial) if asked == Some(*serial) => self.answer(now, at, Answer::Unknown),
            Event::Answered(serial) => {
                let answer = self.answers.remove(serial).unwrap();
                if asked == Some(*serial) {
                    self.answer(now, at, answer);
                }
            }
            Event::Trouble => self.trouble(now, at),
            Event::Reach(..) | Event::GiveUp(_) => {}
        }
    }

    /// It is killed, told to end, or cut off.
    fn trouble(&mut self, now: u64, at: usize) {
        match self.random.u8(0..4) {
            0 => self.die(now, at, 0),
            1 => {
                let cut = self.random.u64(0..=CUT);
                if let Some(left) = self.all[at].election.released() {
                    self.send(now, cut, at, Some((None, left.duration, left.version)));
                }
                self.die(now, at, cut);
            }
            _ => {
                let until = now + self.random.u64(1000..40_000);
                self.all[at].cut_off = until;
                let next = until + self.random.u64(1000..90_000);
                self.push(next, at, Event::Trouble);
            }
        }
    }

    fn step(&mut self, now: u64, at: usize) {
        let process = &self.all[at];
        if process.asked.is_some() {
            return;
        }
        match process.election.next(process.clock(now)) {
            Next::Wait(until) => {
                let when = process.when(until).max(now + 1);
                self.push(when, at, Event::Step);
            }
            Next::Read => self.ask(now, at, None),
            Next::Write(over) => {
                let mine = process.election.mine(over.as_ref());
                self.ask(now, at, Some((mine.holder, mine.duration, mine.version)));
            }
            Next::Lost(_) => {
                let cut = self.random.u64(0..=CUT);
                self.die(now, at, cut);
            }
        }
    }

    fn ask(&mut self, now: u64, at: usize, request: Request) {
        let process = &self.all[at];
        let clock = process.clock(now);
        let until = clock + self.timing.request;
        let until = process.election.leads_until().map_or(until, |end| until.min(end));
        let when = process.when(until).max(now + 1);
        let serial = self.send(now, 0, at, request);
        self.all[at].asked = Some((serial, clock));
        self.push(when, at, Event::GiveUp(serial));
    }

    fn send(&mut self, now: u64, later: u64, at: usize, request: Request) -> u64 {
        self.serial += 1;
        let serial = self.serial;
        // Of what is sent by somebody who is cut off, some arrives; the answer does not.
        if now < self.all[at].cut_off && self.random.u8(0..4) != 0 {
            return serial;
        }
        let slow = if self.random.u8(0..10) == 0 { 6000 } else { 200 };
        let when = now + later + self.random.u64(1..slow);
        self.push(when, at, Event::Reach(serial, request));
        serial
    }

    fn reach(&mut self, now: u64, at: usize, life: u64, serial: u64, request: Request) {
        let answer = match request {
            None => Answer::Read(self.lease.clone()),
            Some((_, _, over)) if self.lease.as_ref().map_or("", |l| &l.version) != over => Answer::Conflict,
            Some((holder, duration, _)) => {
                self.version += 1;
                let record = Record { holder, duration, transitions: 0, version: self.version.to_string() };
                self.lease = Some(record.clone());
                Answer::Written(record)
            }
        };
        if self.all[at].life == life && now >= self.all[at].cut_off {
            self.answers.insert(serial, answer);
            let when = now + self.random.u64(1..200);
            self.push(when, at, Event::Answered(serial));
        }
    }

    fn answer(&mut self, now: u64, at: usize, answer: Answer) {
        let process = &mut self.all[at];
        let (_, sent) = process.asked.take().unwrap();
        let led = process.election.leads_until().is_some();
        let clock = process.clock(now);
        process.election.answered(answer, sent, clock);
        if process.election.leads_until().is_some_and(|until| clock < until) && !led {
            self.reigns += 1;
            if !self.leads.is_empty() || now < self.ended {
                self.two.get_or_insert(now);
            }
            self.leads.insert(at);
        }
        self.push(now, at, Event::Step);
    }

    /// Its process ends, its work a moment later, and another one begins in its place.
    fn die(&mut self, now: u64, at: usize, cut: u64) {
        if self.leads.remove(&at) {
            self.ended = self.ended.max(now + cut);
        }
        let again = now + cut + self.random.u64(500..5000);
        let Process { life, rate, .. } = self.all[at];
        self.all[at] = Process::new(at, life + 1, again, self.timing, rate);
        self.begin(at);
    }
}

#[test]
fn two_never_lead_at_once() {
    let mut reigns = 0;
    for seed in 0..WORLDS {
        let (times, two) = live(seed, Timing::DEFAULT, &RATES);
        assert_eq!(two, None, "two lead in world {seed}");
        reigns += times;
    }
    assert!(reigns > 3000, "somebody has to lead for this to mean anything: {reigns}");
}

#[test]
fn who_stops_too_late_is_found() {
    let late = Timing { renew_deadline: Duration::from_secs(18), ..Timing::DEFAULT };
    // The clocks of the second run apart by more than there is room for.
    for (what, timing, rates) in [("late", late, RATES), ("apart", Timing::DEFAULT, 500..=2000)] {
        let found = (0..WORLDS).filter(|seed| live(*seed, timing, &rates).1.is_some()).count();
        assert!(found > 10, "{what}: only {found} worlds show it");
    }
}
