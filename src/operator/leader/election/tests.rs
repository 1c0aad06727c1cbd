use super::*;

mod world;

const T: Timing = Timing::DEFAULT;

fn s(seconds: u64) -> Moment {
    Moment::from_secs(seconds)
}

fn held(by: &str, version: &str) -> Record {
    Record { holder: Some(by.to_owned()), duration: T.duration, transitions: 3, version: version.to_owned() }
}

/// Somebody who read this, at second 100.
fn who_read(record: Option<Record>) -> Election {
    let mut election = Election::new("me".to_owned(), T);
    assert_eq!(election.next(s(99)), Next::Read, "nothing is decided before the Lease was read");
    election.answered(Answer::Read(record), s(99), s(100));
    election
}

/// Somebody who leads since a write that was sent at second 100.
fn leader() -> Election {
    let mut election = who_read(None);
    election.answered(Answer::Written(Record { version: "7".to_owned(), ..election.mine(None) }), s(100), s(101));
    election
}

#[test]
fn a_lease_is_taken_when_nobody_holds_it_or_it_was_not_seen_to_change_for_its_time() {
    let free = Record { holder: None, ..held("", "5") };
    let short = Record { duration: s(4), ..held("other", "5") };
    let without = Record { duration: s(0), ..held("other", "5") };
    let now = |over: &Record| Next::Write(Some(over.clone()));
    for (what, read, at, next) in [
        ("there is none", None, 100, Next::Write(None)),
        ("it was released", Some(free.clone()), 100, now(&free)),
        ("an earlier write of ours was not answered, and is there", Some(held("me", "5")), 100, now(&held("me", "5"))),
        ("it is held", Some(held("other", "5")), 100, Next::Wait(s(102))),
        ("it is held, and is looked at again", Some(held("other", "5")), 102, Next::Read),
        ("it is held as long as it says", Some(held("other", "5")), 114, Next::Read),
        ("it has run out", Some(held("other", "5")), 115, now(&held("other", "5"))),
        ("it says another time", Some(short.clone()), 104, now(&short)),
        ("it says no time", Some(without.clone()), 114, Next::Read),
        ("it says no time, ours counts", Some(without.clone()), 115, now(&without)),
    ] {
        assert_eq!(who_read(read).next(s(at)), next, "{what}");
    }
}

#[test]
fn a_lease_that_changes_is_held_anew() {
    let mut election = who_read(Some(held("other", "5")));
    election.answered(Answer::Read(Some(held("other", "6"))), s(113), s(114));
    assert_eq!(election.next(s(128)), Next::Read, "seen to change at 114");
    election.answered(Answer::Read(Some(held("other", "6"))), s(128), s(128));
    assert_eq!(election.next(s(129)), Next::Write(Some(held("other", "6"))));
}

#[test]
fn the_holder_of_a_deleted_lease_has_its_time() {
    let mut election = who_read(Some(held("other", "5")));
    election.answered(Answer::Read(None), s(102), s(102));
    assert_eq!(election.next(s(103)), Next::Wait(s(104)));
    assert_eq!(election.next(s(115)), Next::Write(None));
}

#[test]
fn a_leader_counts_from_before_it_wrote_and_stops_before_its_lease_is_taken() {
    let election = leader();
    assert_eq!(election.next(s(101)), Next::Wait(s(102)));
    assert_eq!(election.next(s(102)), Next::Write(Some(Record { version: "7".to_owned(), ..election.mine(None) })));
    assert_eq!(election.leads_until(), Some(s(110)));
    assert!(matches!(election.next(s(110)), Next::Lost(_)));
}

#[test]
fn a_leader_whose_renewal_fails_reads_and_goes_by_that() {
    let mine = || Record { version: "9".to_owned(), ..leader().mine(None) };
    for (what, failed, read, next) in [
        ("somebody wrote a note on it", Answer::Conflict, Some(mine()), Some(Next::Write(Some(mine())))),
        ("the answer did not come, the write was done", Answer::Unknown, Some(mine()), Some(Next::Write(Some(mine())))),
        ("somebody took it", Answer::Conflict, Some(held("other", "9")), None),
        ("somebody released it", Answer::Conflict, Some(Record { holder: None, ..mine() }), None),
        ("somebody deleted it", Answer::Conflict, None, None),
    ] {
        let mut election = leader();
        election.answered(failed, s(102), s(103));
        assert_eq!(election.next(s(104)), Next::Read, "{what}");
        election.answered(Answer::Read(read), s(104), s(104));
        match next {
            Some(next) => assert_eq!(election.next(s(104)), next, "{what}"),
            None => assert!(matches!(election.next(s(104)), Next::Lost(_)), "{what}"),
        }
    }
}

#[test]
fn a_lease_counts_how_often_it_changed_hands() {
    let election = who_read(None);
    let taken = election.mine(Some(&held("other", "5")));
    assert_eq!((taken.transitions, taken.version.as_str(), taken.holder.as_deref()), (4, "5", Some("me")));
    assert_eq!(election.mine(Some(&held("me", "5"))).transitions, 3);
    assert_eq!(election.mine(None).transitions, 0);
}

#[test]
fn only_the_holder_lets_a_lease_go() {
    let left = leader().released().unwrap();
    assert_eq!((left.holder, left.version.as_str()), (None, "7"));
    assert_eq!(who_read(Some(held("other", "5"))).released(), None);
    assert_eq!(who_read(None).released(), None);
}
