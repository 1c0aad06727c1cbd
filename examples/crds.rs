//! Writes the CustomResourceDefinitions into `crds/`: `make crds`.

use std::{fs, path::Path};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    fs::create_dir_all(&folder)?;
    for (file, crd) in testkit::api::crds() {
        let text = serde_yaml_ng::to_string(&crd)?;
        fs::write(
            folder.join(file),
            format!("# Generated from src/api by `make crds`; changes are made there.\n{text}"),
        )?;
    }
    Ok(())
}
