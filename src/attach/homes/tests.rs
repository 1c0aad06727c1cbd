use super::*;

fn seen(name: &str) -> Sight {
    let (manager, leader) = (name.contains('m'), name == "m1");
    Sight { name: name.to_owned(), manager, leader, hears: true, engine: true, swarm: true }
}

fn all(names: &[&str]) -> Vec<Sight> {
    names.iter().map(|name| seen(name)).collect()
}

fn wanted() -> Vec<String> {
    ["m0", "m1", "w0"].map(str::to_owned).to_vec()
}

const S: fn(u64) -> Duration = Duration::from_secs;

fn at_m0(pin: Pin) -> Homes {
    let mut homes = Homes::new(pin);
    let home = Change::Home { node: "m0".to_owned(), instead_of: None, back: false };
    assert_eq!(homes.look(S(0), all(&["m0", "m1"]), &wanted(), false), [home]);
    homes
}

#[test]
fn home_is_given_up_after_seven_seconds_and_said_in_every_error_after_that() {
    let mut homes = at_m0(Pin::Free);
    homes.made_at("m0");
    assert_eq!(homes.note(), None);
    for second in 1..8 {
        assert_eq!(homes.look(S(second), all(&["m1"]), &wanted(), false), [], "{second}");
    }
    let moved = Change::Home { node: "m1".to_owned(), instead_of: Some("m0".to_owned()), back: false };
    assert_eq!(homes.look(S(8), all(&["m1"]), &wanted(), false), [moved]);
    assert_eq!(homes.note().unwrap(), "containers made so far are on m0");
    assert_eq!(
        homes.over(),
        "there was no connection to m0 for 7 s; containers made so far are on m0; new ones are made on m1"
    );
}

#[test]
fn a_hiccup_moves_nothing_and_begins_the_count_anew() {
    let mut homes = at_m0(Pin::Free);
    homes.look(S(1), all(&["m1"]), &wanted(), false);
    homes.look(S(6), all(&["m0", "m1"]), &wanted(), false);
    homes.look(S(7), all(&["m1"]), &wanted(), false);
    assert_eq!(homes.look(S(13), all(&["m1"]), &wanted(), false), []);
    assert_eq!(homes.home(), Some("m0"));
}

#[test]
fn it_goes_back_after_ten_seconds_when_nothing_is_under_way() {
    let mut homes = at_m0(Pin::Free);
    homes.look(S(1), all(&["m1"]), &wanted(), false);
    homes.look(S(9), all(&["m1"]), &wanted(), false);
    assert_eq!(homes.home(), Some("m1"));
    homes.look(S(10), all(&["m0", "m1"]), &wanted(), true);
    homes.look(S(14), all(&["m1"]), &wanted(), true);
    homes.look(S(15), all(&["m1", "m0"]), &wanted(), true);
    assert_eq!(homes.look(S(24), all(&["m1", "m0"]), &wanted(), false), []);
    assert_eq!(homes.look(S(25), all(&["m1", "m0"]), &wanted(), true), [], "a stream is under way");
    let back = Change::Home { node: "m0".to_owned(), instead_of: Some("m1".to_owned()), back: true };
    assert_eq!(homes.look(S(26), all(&["m1", "m0"]), &wanted(), false), [back]);
}

#[test]
fn an_engine_that_does_not_answer_is_no_home_for_long() {
    let mut homes = at_m0(Pin::Free);
    let mut silent = all(&["m0", "m1"]);
    silent[0].engine = false;
    assert_eq!(homes.look(S(1), silent.clone(), &wanted(), false), []);
    assert_eq!(homes.look(S(8), silent, &wanted(), false).len(), 1);
    assert!(homes.over().starts_with("the engine of m0 did not answer for 7 s"));
}

#[test]
fn a_node_that_is_no_more_is_given_up_at_once() {
    let mut homes = at_m0(Pin::Free);
    assert_eq!(homes.look(S(1), all(&["m1"]), &["m1".to_owned()], false).len(), 1);
    assert!(homes.over().starts_with("m0 is no node of the cluster any more"));
    // A node of that name is a stranger.
    homes.look(S(2), all(&["m1", "m0"]), &wanted(), false);
    assert_eq!(homes.look(S(60), all(&["m1", "m0"]), &wanted(), false), []);
}

#[test]
fn a_pinned_home_is_not_left() {
    let mut homes = at_m0(Pin::First);
    homes.look(S(1), all(&["m1"]), &wanted(), false);
    assert_eq!(homes.look(S(8), all(&["m1"]), &wanted(), false), [Change::GivenUp { node: "m0".to_owned() }]);
    assert_eq!(homes.look(S(9), all(&["m1"]), &wanted(), false), []);
    assert!(homes.over().ends_with("what m0 has can be asked when it is back"));
    assert_eq!(homes.look(S(99), all(&["m0"]), &wanted(), false), [Change::Again { node: "m0".to_owned() }]);
}

#[test]
fn the_swarm_is_asked_of_a_manager_that_answers_and_of_the_leader_first() {
    let mut homes = Homes::new(Pin::At("w0".to_owned()));
    homes.look(S(0), all(&["w0", "m0", "m1"]), &wanted(), false);
    assert_eq!((homes.home(), homes.manager(None)), (Some("w0"), Some("m1")));
    assert_eq!(homes.manager(Some("m1")), Some("m0"));
    let mut sights = all(&["w0", "m0", "m1"]);
    sights[2].hears = false;
    homes.look(S(0), sights.clone(), &wanted(), false);
    assert_eq!((homes.manager(None), homes.anyone(None)), (Some("m0"), Some("w0")));
    sights[0].hears = false;
    homes.look(S(0), sights, &wanted(), false);
    assert_eq!(homes.anyone(None), Some("m0"));
    homes.look(S(0), all(&["w0"]), &wanted(), false);
    assert_eq!(homes.manager(None), None, "a worker knows nothing of the swarm");
}

#[test]
fn what_home_may_refuse_of_the_swarm_is_asked_of_home_while_it_answers() {
    let mut homes = at_m0(Pin::Free);
    assert_eq!((homes.manager_at_home(None), homes.manager(None)), (Some("m0"), Some("m1")));
    let mut sights = all(&["m0", "m1"]);
    sights[0].hears = false;
    homes.look(S(1), sights, &wanted(), false);
    assert_eq!((homes.home(), homes.manager_at_home(None)), (Some("m0"), Some("m1")));
}
