//! The tar archive of a results folder, as an engine sends it: any bytes, and a real one with a failed case in it that is cut
//! off, has bytes changed, and comes in any pieces.
#![no_main]

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use testkit_fuzz::{
    documents::{Suite, may_pass},
    pieces::Pieces,
    run::archive::tar::unpack,
};

#[derive(Arbitrary, Debug)]
enum Archive {
    Bytes(Vec<u8>),
    Real { names: Vec<String>, suite: Suite, cut: Option<u16>, changed: Option<(u16, u8)> },
}

fuzz_target!(|archive: Archive| match archive {
    Archive::Bytes(bytes) => {
        let (whole, pieces) = (unpack(&bytes[..], "/results"), unpack(Pieces::of(&bytes), "/results"));
        assert_eq!((whole.cases, whole.problems), (pieces.cases, pieces.problems));
    }
    Archive::Real { names, suite, cut, changed } => {
        let document = suite.written();
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, bytes).is_ok()
        };
        for name in names.iter().take(4) {
            add(name, b"<testsuite><testcase name='a'/></testsuite>");
        }
        if !add(&format!("results/{}", suite.file()), &document) {
            return;
        }
        let end = tar.get_ref().len();
        let mut bytes = tar.into_inner().expect("memory");
        let outcome = unpack(Pieces::of(&bytes), "/results");
        assert!(!may_pass(&outcome), "{outcome:?}");
        if let Some((at, byte)) = changed {
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(usize::from(cut) % end);
        }
        let outcome = unpack(Pieces::of(&bytes), "/results");
        assert!(changed.is_some() || !may_pass(&outcome), "{outcome:?}");
    }
});
