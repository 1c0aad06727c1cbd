use super::*;

fn redacted(text: &str) -> String {
    Redactor::new([]).text(text)
}

#[test]
fn what_looks_like_a_secret_is_cut() {
    for (text, expected) in [
        (
            "docker swarm join --token SWMTKN-1-3pu6hszjas19xyp7ghgosyx9k8atbfcr8p2is99znpy26u2lkl-1awxwuwd3z9j1z3puu7rcgdbx 10.0.0.1:2377",
            "docker swarm join --token [cut] 10.0.0.1:2377\n",
        ),
        ("key SWMKEY-1-7c37Cc8654o6p38HnroywCi19pllOnGtbdZEgtKxZu8.", "key [cut].\n"),
        ("id=AKIAIOSFODNN7EXAMPLE.", "id=[cut].\n"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "aws_secret_access_key = [cut]\n"),
        ("said wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKE9 twice", "said [cut] twice\n"),
        (r#"{"password":"hunter2","user":"a"}"#, "{\"password\":\"[cut]\",\"user\":\"a\"}\n"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [cut]\n"),
        ("proxy http://me:secret@proxy:3128/x", "proxy http://[cut]@proxy:3128/x\n"),
        ("DB_PASSWORD=x y", "DB_PASSWORD=[cut] y\n"),
    ] {
        assert_eq!(redacted(text), expected, "{text}");
    }
}

#[test]
fn what_helps_is_left() {
    for text in [
        "time=\"2026-01-01T00:00:00Z\" level=error msg=\"agent: session failed\" error=\"rpc error: code = Unavailable\"",
        "sshSecret: foo-ssh",
        "3f4b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d7e8f9a0b   e2e:latest   Up 3 minutes",
        "image: dockerswarm/e2e@sha256:3f4b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d7e8f9a0b",
        "swarm join 10.0.0.1:2377, see https://docs.docker.com/engine/swarm/",
        "-----BEGIN CERTIFICATE-----",
    ] {
        assert_eq!(redacted(text), format!("{text}\n"));
    }
}

#[test]
fn private_keys_are_cut_whole_or_broken() {
    let body = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW";
    let key = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\nshort=\n-----END OPENSSH PRIVATE KEY-----");
    assert_eq!(redacted(&format!("a\n{key}\nb")), "a\n[cut]\n\nb\n");
    let one_line = key.replace('\n', "\\n");
    assert_eq!(redacted(&format!("{{\"k\": \"{one_line}\", \"x\": 1}}")), "{\"k\": \"[cut]\", \"x\": 1}\n");
    // Its beginning is missing: a log that was cut.
    assert_eq!(redacted(&format!("host cloud-init[1]: {body}")), "host cloud-init[1]: [cut]\n");
    let end = "-----END OPENSSH PRIVATE KEY-----";
    assert_eq!(redacted(&format!("before it\nh: {body}\nh: AAAshort\nh: {end}")), "before it\nh: [cut]\nh: [cut]\n\n");
    // Its end is missing.
    let long = format!("-----BEGIN RSA PRIVATE KEY-----\n{}after", "x\n".repeat(LONGEST_KEY + 5));
    assert!(redacted(&long).ends_with("after\n"));
}

#[test]
fn what_is_known_is_cut_in_every_form() {
    let seed = [7u8; 32];
    let redactor = Redactor::new([&seed[..], b"first line of a secret\nsecond line of a secret\n".as_slice()]);
    let hex = "07".repeat(32);
    let text = format!("x{}y {hex} [second line of a secret]", STANDARD.encode(seed));
    assert_eq!(redactor.text(&text), "x[cut]y [cut] [[cut]]\n");
    assert!(!format!("{redactor:?}").contains("line"));
}
