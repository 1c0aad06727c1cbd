//! The image: brought to every node, made for what they are, and the same on all.

use super::*;

#[test]
fn brings_the_image_where_it_is_missing() {
    let failed = |due| Bringing::Failed { words: "no such host".into(), due };
    let (pull, copy) = (|s: &str| Step::Pull(id(s, 0)), |s: &str| Step::Copy { from: id("m1", 0), to: id(s, 0) });
    let cases = [
        ("IfNotPresent", Bringing::Idle, vec![pull("m0"), pull("w0")]),
        ("IfNotPresent", Bringing::Busy, vec![]),
        ("IfNotPresent", failed(false), vec![]),
        ("IfNotPresent", failed(true), vec![copy("m0"), copy("w0")]),
        ("Always", Bringing::Idle, vec![pull("m0"), pull("m1"), pull("w0")]),
        ("Always", failed(true), vec![pull("m0"), pull("m1"), pull("w0")]),
        ("Never", Bringing::Idle, vec![]),
    ];
    for (policy, bringing, steps) in cases {
        let mut seen = ready();
        seen.record.since.insert(Stage::Image, before(10));
        seen.hosts.values_mut().for_each(|h| h.bringing = bringing.clone());
        for slot in ["m0", "w0"] {
            host(&mut seen, slot).image = Some(None);
        }
        let plan = plan(&spec(policy), &seen, now());
        assert_eq!(plan.steps, steps, "{policy} {bringing:?}");
        assert!(
            matches!(&plan.says, Says::Image(w) if w.contains("foo-m0") && w.contains("foo-w0")),
            "{:?}",
            plan.says
        );
        assert!(plan.again.unwrap() <= SOON);
    }
}

/// The ready cluster, on whose nodes the image is made for `image`, and who run on `host`.
fn of_platform(image: Option<&str>, host: Option<&str>) -> Observed {
    let mut seen = ready();
    for view in seen.hosts.values_mut() {
        view.image = Some(Some(Image { platform: image.map(str::to_owned), ..Image::default() }));
        view.platform = host.map(str::to_owned);
    }
    seen
}

#[test]
fn an_image_for_another_platform_is_said_before_the_container_is_made() {
    let (amd, arm) = (Some("linux/amd64"), Some("linux/arm64"));
    let cases = [
        (amd, amd, true),
        (Some("linux/386"), amd, true),
        (Some("linux/arm"), arm, true),
        (Some("linux/x86_64"), amd, true),
        (Some("linux/aarch64"), arm, true),
        (Some("linux/aarch64"), amd, false),
        (arm, amd, false),
        (amd, arm, false),
        (Some("windows/amd64"), amd, false),
        // What is not known is not held against it.
        (None, amd, true),
        (arm, None, true),
    ];
    for (image, host, starts) in cases {
        let plan = plan(&spec("Never"), &of_platform(image, host), now());
        if starts {
            assert_eq!(plan.steps, [Step::Launch(id("m1", 0))], "{image:?} {host:?}");
            continue;
        }
        let (reason, message) = end(&plan).unwrap();
        assert_eq!(reason, reason::INVALID_SPEC);
        for words in ["suite:1", image.unwrap(), host.unwrap(), "foo-m1", "instanceTypes"] {
            assert!(message.contains(words), "{words}: {message}");
        }
    }
    let mut refused = ready();
    for view in refused.hosts.values_mut() {
        view.image = Some(None);
        let words = "no matching manifest for linux/arm64 in the manifest list entries".to_owned();
        view.bringing = Bringing::Failed { words, due: false };
    }
    let message = plan(&spec("IfNotPresent"), &refused, now());
    let (reason, message) = end(&message).unwrap();
    assert!(reason == reason::INVALID_SPEC && message.contains("linux/arm64"), "{message}");
    host(&mut refused, "w0").image = Some(Some(Image::default()));
    assert_eq!(end(&plan(&spec("IfNotPresent"), &refused, now())), None, "it is copied from the one that has it");
}

#[test]
fn all_nodes_have_the_image_of_the_one_that_the_container_runs_on() {
    let image = |id: &str, digests: &[&str]| {
        let digests = digests.iter().map(|d| format!("suite@sha256:{d}")).collect();
        Some(Some(Image { id: id.to_owned(), digests, platform: Some("linux/amd64".into()), ..Image::default() }))
    };
    let align = |to: &str| Step::Align { from: id("m1", 0), to: id(to, 0) };
    let failed = |due| Bringing::Failed { words: "no such host".into(), due };
    // The image on m1, the one on w0, what became of giving it that of m1, the policy, what is done.
    let cases = [
        (image("1", &["a"]), image("1", &[]), Bringing::Idle, "IfNotPresent", None),
        (image("1", &["a", "b"]), image("2", &["b"]), Bringing::Idle, "IfNotPresent", None),
        (image("1", &["a"]), image("2", &["b"]), Bringing::Idle, "IfNotPresent", Some(vec![align("w0")])),
        (image("1", &[]), image("2", &[]), Bringing::Idle, "IfNotPresent", Some(vec![align("w0")])),
        (image("1", &["a"]), image("2", &["b"]), Bringing::Busy, "IfNotPresent", Some(vec![])),
        (image("1", &["a"]), image("2", &["b"]), failed(false), "IfNotPresent", Some(vec![])),
        (image("1", &["a"]), image("2", &["b"]), failed(true), "IfNotPresent", Some(vec![align("w0")])),
        // Engines of different kinds.
        (image("1", &["a"]), image("2", &[]), Bringing::Done, "IfNotPresent", None),
        (image("1", &["a"]), image("2", &["b"]), Bringing::Idle, "Never", None),
    ];
    for (leaders, others, aligning, policy, wanted) in cases {
        let mut seen = of_platform(Some("linux/amd64"), Some("linux/amd64"));
        host(&mut seen, "m0").image = leaders.clone();
        host(&mut seen, "m1").image = leaders.clone();
        host(&mut seen, "w0").image = others.clone();
        host(&mut seen, "w0").aligning = aligning.clone();
        let what = format!("{leaders:?} {others:?} {aligning:?} {policy}");
        let now_plan = plan(&spec(policy), &seen, now());
        match wanted {
            None => assert_eq!(now_plan.steps, [Step::Launch(id("m1", 0))], "{what}"),
            Some(steps) => {
                assert_eq!(now_plan.steps, steps, "{what}");
                assert!(
                    matches!(&now_plan.says, Says::Image(w) if w.contains("foo-w0") && w.contains("foo-m1")),
                    "{what}"
                );
                seen.record.since.insert(Stage::Image, before(120));
                let late = plan(&spec(policy), &seen, now());
                assert_eq!(end(&late).map(|(r, _)| r), Some(reason::IMAGE_UNAVAILABLE), "{what}");
            }
        }
        // The parts of an image for different architectures are different ones.
        host(&mut seen, "w0").platform = Some("linux/arm64".into());
        assert_eq!(plan(&spec(policy), &seen, now()).steps, [Step::Launch(id("m1", 0))], "{what}");
    }
}

#[test]
fn always_is_satisfied_by_a_pull_of_this_run() {
    let mut seen = ready();
    seen.hosts.values_mut().for_each(|h| h.bringing = Bringing::Done);
    assert_eq!(plan(&spec("Always"), &seen, now()).steps, [Step::Launch(id("m1", 0))]);
}

#[test]
fn the_image_has_its_time_from_when_the_cluster_could_take_it() {
    let mut seen = ready();
    host(&mut seen, "w0").image = Some(None);
    host(&mut seen, "w0").bringing = Bringing::Failed { words: "no such host".into(), due: false };
    let first = plan(&spec("IfNotPresent"), &seen, now());
    assert_eq!(first.enters, Some((Stage::Image, now())));
    seen.record.since.insert(Stage::Image, before(119));
    assert_eq!(end(&plan(&spec("IfNotPresent"), &seen, now())), None);
    seen.record.since.insert(Stage::Image, before(120));
    let last = plan(&spec("IfNotPresent"), &seen, now());
    let (reason, message) = end(&last).unwrap();
    assert_eq!(reason, reason::IMAGE_UNAVAILABLE);
    for words in ["suite:1", "foo-w0", "2m", "no such host", "kubectl testkit load suite:1 --cluster foo", "registry"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    seen.cluster.as_mut().unwrap().not_ready = Some("a node is down".into());
    assert_eq!(plan(&spec("IfNotPresent"), &seen, now()).steps, [Step::Forget(vec![Stage::Image]), Step::Vacate]);
}
