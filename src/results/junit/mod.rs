//! JUnit XML, as the many tools that write it do: one suite or several, several roots and
//! documents, nested or not, with failures as an element, as an attribute, as text or all of
//! them. Read as a stream; every element is of one [`Sort`], and one that looks like a case or
//! a failure out of its place is a problem. No file system and no judgement on a run.

mod suite;
mod walk;
pub(super) use self::{walk::PROBLEM, words::speaks_of_failure};
mod words;

use std::io::{self, Read};

use self::walk::Walk;
use super::{
    case::Sink,
    xml::{Lexer, Token},
};

/// Reads a document into `sink`. Whether it is JUnit. One that was `kept` was looked through when it was read first:
/// what its suites count was compared then, with more at hand.
///
/// # Errors
/// Those of the source.
pub(super) fn read(source: impl Read, kept: bool, sink: &mut dyn Sink) -> io::Result<bool> {
    let mut lexer = Lexer::new(source);
    walk(&mut lexer, kept, sink)
}

fn walk(lexer: &mut Lexer<impl Read>, kept: bool, sink: &mut dyn Sink) -> io::Result<bool> {
    let mut walk = Walk::new(kept, sink);
    loop {
        let token = match lexer.next() {
            Ok(token) => token,
            Err(error) => {
                walk.finish(Some("it breaks off"));
                return Err(error);
            }
        };
        match token {
            Token::Open { tag, empty } => {
                walk.open(tag);
                if empty {
                    walk.close(None);
                }
            }
            Token::Close(name) => walk.close(Some(name)),
            Token::Text(text) => walk.text(text, true),
            Token::Raw(text) => walk.text(text, false),
            Token::Stray => walk.stray(),
            Token::Malformed(why) => walk.malformed(why),
            Token::End => break,
        }
        if walk.given_up() {
            break;
        }
    }
    if let Some(doubt) = lexer.doubt() {
        walk.doubt(doubt);
    }
    Ok(walk.finish(None))
}

#[cfg(test)]
mod tests;
