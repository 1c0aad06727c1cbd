use serde_json::json;

use super::*;

#[test]
fn a_pattern_takes_no_longer_than_its_length_and_that_of_the_name() {
    let (pattern, name) = ("*a".repeat(60) + "b", "a".repeat(250));
    assert!(!glob(pattern.as_bytes(), name.as_bytes()));
    for (pattern, text, fits) in [
        ("", "", true),
        ("*", "", true),
        ("a*", "a", true),
        ("*.io", "my.io", true),
        ("a*b*c", "aXbYbc", true),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("", "a", false),
        ("*b", "bab", true),
        ("*ab", "aab", true),
        ("a", "ab", false),
    ] {
        assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), fits, "{pattern} {text}");
    }
}

fn secret(type_: &str, key: &str, value: &str) -> Secret {
    let data = base64::engine::general_purpose::STANDARD.encode(value);
    serde_json::from_value(json!({"type": type_, "data": {key: data}})).unwrap()
}

/// A Secret as `kubectl create secret docker-registry` makes it, with a login for each place.
fn logins(places: &[&str]) -> Secret {
    let auths: serde_json::Map<_, _> = places
        .iter()
        .map(|place| ((*place).to_owned(), json!({"username": "me", "password": format!("for {place}")})))
        .collect();
    secret("kubernetes.io/dockerconfigjson", ".dockerconfigjson", &json!({ "auths": auths }).to_string())
}

fn keyring(secrets: &[(&str, &[&str])]) -> Keyring {
    let mut keyring = Keyring::default();
    for (name, places) in secrets {
        keyring.add(name, Some(&logins(places)));
    }
    keyring
}

#[test]
fn a_login_is_found_as_the_kubelet_finds_it() {
    // Where the Secret has logins for, the image, whose login is tried, in order.
    let cases: [(&[&str], &str, &[&str]); 18] = [
        (&["registry.io"], "registry.io/team/app:1", &["registry.io"]),
        (&["https://registry.io"], "registry.io/app", &["registry.io"]),
        (&["https://registry.io/v2/"], "registry.io/app", &["registry.io"]),
        (&["registry.io"], "registry.io:5000/app", &[]),
        (&["registry.io:5000"], "registry.io:5000/app:v1", &["registry.io:5000"]),
        (&["registry.io"], "other.io/app", &[]),
        (&["registry.io", "registry.io/team"], "registry.io/team/app", &["registry.io/team", "registry.io"]),
        (&["registry.io", "registry.io/team"], "registry.io/other/app", &["registry.io"]),
        (&["*.registry.io"], "eu.registry.io/app", &["*.registry.io"]),
        (&["*.registry.io"], "a.b.registry.io/app", &[]),
        (&["*.registry.io"], "registry.io/app", &[]),
        (&["e?.registry.*"], "eu.registry.io/app", &["e?.registry.*"]),
        (&["https://index.docker.io/v1/"], "suite", &["docker.io"]),
        (&["https://index.docker.io/v1/"], "dockerswarm/e2e:latest", &["docker.io"]),
        (&["docker.io/dockerswarm", "docker.io"], "dockerswarm/e2e", &["docker.io/dockerswarm", "docker.io"]),
        (&["docker.io"], "index.docker.io/team/e2e@sha256:ab", &["docker.io"]),
        (&["docker.io"], "localhost/app", &[]),
        (&["docker.io"], "localhost:5000/app", &[]),
    ];
    for (places, image, tried) in cases {
        let keyring = keyring(&[("s", places)]);
        let fits = keyring.fits(image);
        assert_eq!(fits.iter().map(|fit| fit.place).collect::<Vec<_>>(), tried, "{places:?} {image}");
    }
}

#[test]
fn of_several_secrets_each_is_tried_in_the_order_of_the_spec() {
    let keyring = keyring(&[("b", &["registry.io"]), ("a", &["registry.io", "registry.io/team"])]);
    let fits = keyring.fits("registry.io/team/app");
    assert_eq!(
        fits.iter().map(|f| (f.secret, f.place)).collect::<Vec<_>>(),
        [("a", "registry.io/team"), ("b", "registry.io"), ("a", "registry.io")]
    );
    assert_eq!(
        keyring.tried("registry.io/team/app"),
        " (tried with the login of Secret a for registry.io/team, then of Secret b for registry.io, then of Secret a for registry.io)"
    );
}

#[test]
fn an_engine_is_told_the_registry_of_the_image_and_whatever_form_the_login_has() {
    let auth = |text: &str| base64::engine::general_purpose::STANDARD_NO_PAD.encode(text);
    let cases = [
        (json!({"username": "me", "password": "p"}), Some(("me", "p", ""))),
        (json!({"auth": auth("me:p:q")}), Some(("me", "p:q", ""))),
        (json!({"username": "other", "password": "x", "auth": auth("me:p")}), Some(("me", "p", ""))),
        (json!({"auth": auth("<token>:"), "identitytoken": "t"}), Some(("<token>", "", "t"))),
        (json!({"username": "me"}), None),
        (json!({}), None),
    ];
    for (entry, wanted) in cases {
        let text = json!({"*.registry.io": entry}).to_string();
        let mut keyring = Keyring::default();
        keyring.add("old", Some(&secret("kubernetes.io/dockercfg", ".dockercfg", &text)));
        let fits = keyring.fits("eu.registry.io/app");
        let got = fits.first().map(|fit| &fit.login);
        let told = got.map(|l| (l.username.as_str(), l.password.as_str(), l.identity_token.as_str()));
        assert_eq!(told, wanted, "{entry}");
        assert!(got.is_none_or(|login| login.server == "eu.registry.io"));
    }
    let keyring = keyring(&[("hub", &["docker.io"])]);
    assert_eq!(keyring.fits("team/app")[0].login.server, HUB_SERVER);
}

#[test]
fn what_a_secret_lacks_is_said_and_nothing_of_what_it_holds() {
    let mut own = logins(&["registry.io"]);
    own.metadata.labels = Some([("app.kubernetes.io/managed-by".to_owned(), "testkit-operator".to_owned())].into());
    let (json, cfg) = ("kubernetes.io/dockerconfigjson", ".dockerconfigjson");
    let cases = [
        (None, "Secret s is not there"),
        (Some(own), "Secret s is the operator's own"),
        (Some(secret("Opaque", cfg, "{}")), "Secret s is of type Opaque and not kubernetes.io/dockerconfigjson"),
        (Some(secret(json, "config.json", "{}")), "Secret s has no key .dockerconfigjson"),
        (
            Some(secret(json, cfg, "{\"auths\": {\"hunter2\": 1}}")),
            "Secret s has a .dockerconfigjson that cannot be read",
        ),
        (Some(secret(json, cfg, "{}")), "spec.imagePullSecrets (s) have none for registry.io"),
    ];
    for (secret, words) in cases {
        let mut keyring = Keyring::default();
        keyring.add("s", secret.as_ref());
        let said = keyring.tried("registry.io/app");
        assert!(said.contains(words) && said.contains("without a login") && !said.contains("hunter2"), "{said}");
    }
    assert_eq!(Keyring::default().tried("registry.io/app"), "");
}

#[test]
fn no_debug_shows_a_login() {
    let keyring = keyring(&[("s", &["registry.io"])]);
    let shown = format!("{:?}", keyring.fits("registry.io/app")[0].login);
    assert!(shown.contains("registry.io") && !shown.contains("for registry"), "{shown}");
}
