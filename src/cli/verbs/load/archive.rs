//! A docker-archive: what `docker save` writes and `docker load` reads, plain or compressed with gzip.
//!
//! Here it is looked into and read in pieces, never changed. The file stays open from the first
//! look to the last byte, so that what is sent is what was looked at, also after it is unlinked.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use futures::{Stream, stream};
use serde::Deserialize;

use crate::{cli::failure::Failure, platform::files::read_at};

/// How much is read and sent at a time.
const PIECE: usize = 256 * 1024;
/// No manifest is longer; what claims to be is not read into memory.
const LONGEST_MANIFEST: u64 = 4 * 1024 * 1024;

/// An open archive and what is in it.
#[derive(Clone, Debug)]
pub struct Archive {
    file: Arc<File>,
    /// Its length in bytes, as it is sent.
    pub length: u64,
    /// The images in it.
    pub images: Vec<Image>,
}

/// An image of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// What it is called, such as `dockerswarm/e2e:latest`; may be empty.
    pub tags: Vec<String>,
    /// Every id an engine may know it by: the digest of its configuration, and where the archive
    /// tells it the digest of its manifest, which is the id in engines with the containerd store.
    pub ids: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<IndexEntry>,
}

#[derive(Deserialize)]
struct IndexEntry {
    digest: String,
}

impl Archive {
    /// Opens the archive at `path`.
    pub async fn open(path: &Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let file = File::open(path).map_err(|e| Failure::new(format!("{shown} cannot be read: {e}")))?;
        Self::of(file, shown).await
    }

    /// Looks into an open file; `shown` is what messages call it.
    pub async fn of(file: File, shown: String) -> Result<Self, Failure> {
        let look = move || {
            let length = file.metadata().map_err(|e| unreadable(&shown, &e))?.len();
            let images = images(&file, &shown)?;
            Ok(Self { file: Arc::new(file), length, images })
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(archive) => archive,
            Err(e) => Err(Failure::new(format!("the archive could not be read: {e}"))),
        }
    }

    /// Its bytes from the first to the last; as many may read at once as like to.
    pub fn bytes(&self) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin + use<> {
        let (file, length) = (self.file.clone(), self.length);
        Box::pin(stream::try_unfold(0, move |offset: u64| {
            let file = file.clone();
            async move {
                if offset >= length {
                    return Ok(None);
                }
                let read = move || {
                    let wanted = usize::try_from(length - offset).map_or(PIECE, |left| left.min(PIECE));
                    let mut piece = vec![0; wanted];
                    read_whole(&file, &mut piece, offset)?;
                    Ok::<_, io::Error>(Bytes::from(piece))
                };
                let piece = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
                let next = offset + piece.len() as u64;
                Ok(Some((piece, next)))
            }
        }))
    }
}

/// Fills the piece from a place in the file.
fn read_whole(file: &File, mut piece: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !piece.is_empty() {
        match read_at(file, piece, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                piece = &mut piece[length..];
                offset += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn images(mut file: &File, shown: &str) -> Result<Vec<Image>, Failure> {
    let mut magic = [0; 6];
    let read = read_at(file, &mut magic, 0).map_err(|e| unreadable(shown, &e))?;
    file.seek(SeekFrom::Start(0)).map_err(|e| unreadable(shown, &e))?;
    let (manifest, index) = match &magic[..read] {
        [0x1f, 0x8b, ..] => documents(tar::Archive::new(MultiGzDecoder::new(file)).entries()),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => return Err(compressed(shown, "zstd", "zstd -dc")),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => return Err(compressed(shown, "xz", "xz -dc")),
        [b'B', b'Z', b'h', ..] => return Err(compressed(shown, "bzip2", "bzip2 -dc")),
        // With seeks a plain archive of gigabytes is looked through in no time.
        _ => documents(tar::Archive::new(file).entries_with_seek()),
    }
    .map_err(|e| {
        Failure::new(format!("{shown} is not a whole tar archive: {e}"))
            .help("make it with: docker save IMAGE -o FILE.tar")
    })?;
    let Some(manifest) = manifest else {
        let what = if index.is_some() { "an OCI archive without" } else { "a tar archive without" };
        return Err(Failure::new(format!("{shown} is {what} manifest.json: `docker load` would not read it"))
            .help("make it with: docker save IMAGE -o FILE.tar")
            .help("or with: docker buildx build --output type=docker,dest=FILE.tar ."));
    };
    let broken = |e: serde_json::Error| {
        Failure::new(format!("manifest.json of {shown} does not read as one of a docker-archive: {e}"))
            .help("make the archive again with: docker save IMAGE -o FILE.tar")
    };
    let entries: Vec<ManifestEntry> = serde_json::from_slice(&manifest).map_err(broken)?;
    let index: Option<Index> = index.map(|i| serde_json::from_slice(&i)).transpose().map_err(broken)?;
    if entries.is_empty() {
        return Err(Failure::new(format!("there is no image in {shown}")));
    }
    // Which manifest belongs to which image only the names tell; with one image there is no doubt.
    let manifests: Vec<String> = match (&index, entries.len()) {
        (Some(index), 1) => index.manifests.iter().map(|m| m.digest.clone()).collect(),
        _ => Vec::new(),
    };
    entries
        .into_iter()
        .map(|entry| {
            let id = config_id(&entry.config).ok_or_else(|| {
                Failure::new(format!(
                    "manifest.json of {shown} names the configuration {:?}, not a digest",
                    entry.config
                ))
                .help("make the archive again with: docker save IMAGE -o FILE.tar")
            })?;
            let ids = manifests.iter().cloned().chain([id]).collect();
            Ok(Image { tags: entry.repo_tags.unwrap_or_default(), ids })
        })
        .collect()
}

/// `manifest.json` and `index.json` of an archive, as far as they are there.
type Documents = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Finds them.
fn documents<'a, R: Read + 'a>(entries: io::Result<tar::Entries<'a, R>>) -> io::Result<Documents> {
    let (mut manifest, mut index) = (None, None);
    for entry in entries? {
        let entry = entry?;
        let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        let wanted = match name.as_str() {
            "manifest.json" => &mut manifest,
            "index.json" => &mut index,
            _ => continue,
        };
        let mut text = Vec::new();
        entry.take(LONGEST_MANIFEST).read_to_end(&mut text)?;
        *wanted = Some(text);
    }
    Ok((manifest, index))
}

/// The digest in `HEX.json` (classic) or `blobs/sha256/HEX` (since engine 25).
fn config_id(path: &str) -> Option<String> {
    let name = path.strip_prefix("blobs/sha256/").or_else(|| path.strip_suffix(".json"))?;
    (name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())).then(|| format!("sha256:{name}"))
}

fn unreadable(shown: &str, error: &io::Error) -> Failure {
    Failure::new(format!("{shown} cannot be read: {error}"))
}

fn compressed(shown: &str, how: &str, with: &str) -> Failure {
    Failure::new(format!("{shown} is compressed with {how}: only plain and gzip archives can be looked into"))
        .help(format!("{with} {shown} > image.tar"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use futures::TryStreamExt;

    use super::*;

    const CONFIG: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    async fn look(bytes: &[u8]) -> Result<Archive, Failure> {
        let path = std::env::temp_dir().join(format!("testkit-archive-{}-{:p}", std::process::id(), &bytes));
        std::fs::write(&path, bytes).unwrap();
        let archive = Archive::open(&path).await;
        std::fs::remove_file(&path).unwrap();
        archive
    }

    #[tokio::test]
    async fn both_layouts_of_docker_save_are_read() {
        let classic = format!(r#"[{{"Config":"{CONFIG}.json","RepoTags":["a/b:1"],"Layers":["x/layer.tar"]}}]"#);
        let archive = look(&tar_of(&[("x/layer.tar", "layer"), ("manifest.json", &classic)])).await.unwrap();
        assert_eq!(archive.images[0].tags, ["a/b:1"]);
        assert_eq!(archive.images[0].ids, BTreeSet::from([format!("sha256:{CONFIG}")]));

        let oci = format!(r#"[{{"Config":"blobs/sha256/{CONFIG}","RepoTags":null,"Layers":[]}}]"#);
        let index = r#"{"manifests":[{"digest":"sha256:feed"}]}"#;
        let archive = look(&tar_of(&[("index.json", index), ("manifest.json", &oci)])).await.unwrap();
        assert!(archive.images[0].tags.is_empty());
        assert_eq!(archive.images[0].ids, BTreeSet::from([format!("sha256:{CONFIG}"), "sha256:feed".to_owned()]));
    }

    #[tokio::test]
    async fn a_compressed_archive_is_sent_as_it_is_even_after_it_is_unlinked() {
        let manifest = format!(r#"[{{"Config":"{CONFIG}.json","RepoTags":["a:1"],"Layers":[]}}]"#);
        let filler = "0123456789".repeat(100_000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        gzip.write_all(&tar_of(&[("filler", &filler), ("manifest.json", &manifest)])).unwrap();
        let bytes = gzip.finish().unwrap();
        let archive = look(&bytes).await.unwrap();
        let sent: Vec<Bytes> = archive.bytes().try_collect().await.unwrap();
        assert!(sent.len() > 1);
        assert_eq!(sent.concat(), bytes);
    }

    #[tokio::test]
    async fn what_docker_would_not_load_is_refused_with_what_to_do() {
        for (bytes, words) in [
            (tar_of(&[("index.json", "{}")]), "an OCI archive without manifest.json"),
            (tar_of(&[("x", "y")]), "without manifest.json"),
            (tar_of(&[("manifest.json", "[]")]), "no image in"),
            (tar_of(&[("manifest.json", "{")]), "does not read as"),
            (tar_of(&[("manifest.json", r#"[{"Config":"../etc"}]"#)]), "not a digest"),
            (b"\x28\xb5\x2f\xfd and more".to_vec(), "compressed with zstd"),
            (vec![b'x'; 2000], "not a whole tar archive"),
        ] {
            let failure = look(&bytes).await.unwrap_err();
            assert!(failure.what().contains(words), "{failure}");
        }
    }
}
