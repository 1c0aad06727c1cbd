//! A tar stream from who is not trusted, looked through on its way to the library: what the library holds in memory is short,
//! and an archive that breaks off between two files is not taken for a whole one.

use std::io::{self, Read};

use tar::{GnuHeader, Header, PaxExtensions};

/// Tar's blocks, in bytes.
const BLOCK: usize = 512;
/// The longest name and the most attributes of one file: Linux has paths of 4096 bytes, and extended attributes of 64 KiB.
const NAMES: u64 = 1 << 20;
/// The most blocks that tell of the holes of one file, 21 in each: the library holds them all.
const HOLES: u32 = 1 << 14;

/// The stream as it is, or an error in the place of what is no good.
pub struct Checked<R> {
    from: R,
    /// What comes next.
    next: Next,
    /// The block or the attributes that are read, as far as they have come.
    seen: Vec<u8>,
    /// How many bytes of a file, or of what is kept in `seen`, are still to come, with what fills the last block.
    left: u64,
    /// What the attributes before a file say of its size, in place of its header.
    size: Option<u64>,
    any: bool,
}

/// What comes next in an archive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Header,
    /// A block with more of the holes of a sparse file, before so many bytes of it, and the how manieth.
    Holes(u64, u32),
    Content,
    /// Attributes of the next file (pax), so many bytes of them.
    Attributes(usize),
    /// The archive has ended, and nothing that comes is looked at.
    End,
}

impl<R: Read> Checked<R> {
    /// Looks a stream through.
    pub const fn new(from: R) -> Self {
        Self { from, next: Next::Header, seen: Vec::new(), left: BLOCK as u64, size: None, any: false }
    }

    /// How much of a piece belongs to what is next.
    fn pass(&mut self, piece: &[u8]) -> io::Result<usize> {
        let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(piece.len());
        self.left -= here as u64;
        if self.next != Next::Content {
            self.seen.extend_from_slice(&piece[..here]);
        }
        if self.left == 0 {
            self.next = self.after()?;
            self.seen.clear();
        }
        Ok(here)
    }

    /// What comes after that of which all is there, and how long it is.
    fn after(&mut self) -> io::Result<Next> {
        let next = match self.next {
            Next::Header => self.file()?,
            // Its last byte but seven says whether there is one more (GNU tar's `isextended`).
            Next::Holes(_, HOLES) => return Err(io::Error::other("a sparse file has too many holes")),
            Next::Holes(size, block) if self.seen.get(504) == Some(&1) => Next::Holes(size, block + 1),
            Next::Holes(size, _) => self.content(size),
            Next::Attributes(length) => {
                // As the library reads them: the first size, and nothing after what is none.
                let attributes = PaxExtensions::new(&self.seen[..length.min(self.seen.len())]);
                let mut sizes = attributes.map_while(Result::ok).filter(|a| a.key_bytes() == b"size");
                self.size = sizes.next().and_then(|a| a.value().ok()?.parse().ok());
                Next::Header
            }
            Next::Content | Next::End => Next::Header,
        };
        if matches!(next, Next::Header | Next::Holes(..)) {
            self.left = BLOCK as u64;
        }
        Ok(next)
    }

    /// A whole header: what comes after it.
    fn file(&mut self) -> io::Result<Next> {
        if self.seen.iter().all(|byte| *byte == 0) {
            self.left = u64::MAX;
            return Ok(Next::End);
        }
        let header = Header::from_byte_slice(&self.seen);
        // The library says what is wrong with one that is none.
        let size = header.entry_size().unwrap_or(0);
        let kind = header.entry_type();
        // In headers of old the library knows no such kinds.
        let known = header.as_gnu().is_some() || header.as_ustar().is_some();
        let attributes = known && kind.is_pax_local_extensions();
        if kind.is_pax_local_extensions()
            || kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_global_extensions()
        {
            if kind.is_pax_global_extensions() || !known {
                self.size = None;
            }
            if size > NAMES {
                return Err(io::Error::other(format!("the name or the attributes of a file have {size} bytes")));
            }
            return Ok(match (attributes, self.content(size), usize::try_from(size)) {
                (true, Next::Content, Ok(length)) => Next::Attributes(length),
                (_, next, _) => next,
            });
        }
        let extended = kind.is_gnu_sparse() && header.as_gnu().is_some_and(GnuHeader::is_extended);
        let size = self.size.take().unwrap_or(size);
        Ok(if extended { Next::Holes(size, 1) } else { self.content(size) })
    }

    fn content(&mut self, size: u64) -> Next {
        self.left = size.checked_next_multiple_of(BLOCK as u64).unwrap_or(u64::MAX);
        if self.left == 0 { Next::Header } else { Next::Content }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(to)?;
        if read == 0 && !to.is_empty() && self.any && self.next != Next::End {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive breaks off"));
        }
        self.any |= read > 0;
        let mut at = 0;
        while at < read && self.next != Next::End {
            at += self.pass(&to[at..read])?;
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use tar::EntryType;

    use super::*;

    fn archive(files: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, kind, bytes) in files {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, name, *bytes).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn names(bytes: &[u8]) -> io::Result<Vec<String>> {
        let mut archive = tar::Archive::new(Checked::new(bytes));
        archive.entries()?.map(|entry| Ok(entry?.path()?.display().to_string())).collect()
    }

    #[test]
    fn an_archive_is_whole_where_it_says_that_it_ends() {
        let long = "d/".repeat(100) + "file";
        let whole = archive(&[
            ("a", EntryType::Regular, &[1; 700]),
            (&long, EntryType::Regular, b"b"),
            ("c", EntryType::Regular, b""),
        ]);
        assert_eq!(names(&whole).unwrap(), ["a", &long, "c"]);
        // The end are two empty blocks, of which the first tells.
        for cut in 1..=whole.len() - 2 * BLOCK {
            assert!(names(&whole[..cut]).is_err(), "{cut}");
        }
        assert_eq!(names(b"").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_size_may_stand_in_the_attributes_and_holes_before_the_file() {
        // What would be a header is in the files.
        let within = archive(&[("l", EntryType::GNULongName, &vec![b'x'; 2 << 20])]);
        let mut sized = Header::new_ustar();
        sized.set_path("b").unwrap();
        sized.set_size(0);
        sized.set_cksum();
        let attributes = format!("16 size={}\n", within.len());
        assert_eq!(attributes.len(), 16);
        let mut whole = archive(&[("a", EntryType::XHeader, attributes.as_bytes())]);
        whole.truncate(2 * BLOCK);
        whole.extend_from_slice(sized.as_bytes());
        whole.extend_from_slice(&within);
        whole.extend_from_slice(&archive(&[("c", EntryType::Regular, b"c")]));
        assert_eq!(names(&whole).unwrap(), ["b", "c"]);

        let mut sparse = Header::new_gnu();
        sparse.set_path("d").unwrap();
        sparse.set_entry_type(EntryType::GNUSparse);
        sparse.set_size(BLOCK as u64);
        let gnu = sparse.as_gnu_mut().unwrap();
        gnu.realsize[..11].copy_from_slice(b"00000001000");
        gnu.isextended = [1];
        sparse.set_cksum();
        let mut holes = [0; BLOCK];
        // At 0 there are 512 bytes.
        holes[..11].copy_from_slice(b"00000000000");
        holes[12..23].copy_from_slice(b"00000001000");
        let content = &within[..BLOCK];
        let end = [0; 2 * BLOCK];
        let whole = [&sparse.as_bytes()[..], &holes, content, &end].concat();
        assert_eq!(names(&whole).unwrap(), ["d"]);
    }

    #[test]
    fn names_that_are_no_names_are_not_held() {
        for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader, EntryType::XGlobalHeader] {
            let error = names(&archive(&[("x", kind, &vec![b'x'; 2 << 20])])).unwrap_err();
            assert!(error.to_string().contains("have 2097152 bytes"), "{kind:?}: {error}");
        }
        assert_eq!(names(&archive(&[("x", EntryType::Regular, &vec![b'x'; 2 << 20])])).unwrap(), ["x"]);
    }
}
