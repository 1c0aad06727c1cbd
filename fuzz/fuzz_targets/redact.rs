//! What goes into a bundle for a bug report: what is known to be secret is in none of it, wherever it stood.
#![no_main]

use libfuzzer_sys::{arbitrary, fuzz_target};
use testkit_fuzz::cli::verbs::diagnose::redact::Redactor;

fuzz_target!(|input: (Vec<Vec<u8>>, Vec<Piece>)| {
    let (secrets, pieces) = input;
    let secrets: Vec<Vec<u8>> = secrets.into_iter().take(3).filter(|secret| secret.len() <= 64).collect();
    let mut text = String::new();
    for piece in pieces.iter().take(32) {
        match piece {
            Piece::Text(words) => text.push_str(words),
            Piece::Line => text.push('\n'),
            Piece::Secret(nth) if !secrets.is_empty() => {
                text.push_str(&String::from_utf8_lossy(&secrets[usize::from(*nth) % secrets.len()]));
            }
            Piece::Secret(_) => {}
            Piece::Begin => text.push_str("-----BEGIN OPENSSH PRIVATE KEY-----\n"),
            Piece::End => text.push_str("-----END OPENSSH PRIVATE KEY-----"),
            Piece::Name => text.push_str("password="),
            Piece::Login => text.push_str("https://me:"),
        }
    }
    let clean = Redactor::new(secrets.iter().map(Vec::as_slice)).text(&text);
    for secret in &secrets {
        let Ok(secret) = std::str::from_utf8(secret) else { continue };
        let secret = secret.trim();
        // A secret of the mark's own letters is found in the mark.
        if secret.len() >= 16
            && !secret.contains(['\n', '\r'])
            && !secret.contains("[cut")
            && !secret.contains("cut]")
            && !secret.starts_with("-----")
        {
            assert!(!clean.contains(secret), "{secret:?} in {clean:?}");
        }
    }
});

#[derive(arbitrary::Arbitrary, Debug)]
enum Piece {
    Text(String),
    Line,
    Secret(u8),
    Begin,
    End,
    Name,
    Login,
}
