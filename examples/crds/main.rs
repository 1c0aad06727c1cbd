//! Writes the CustomResourceDefinitions into `crds/`, and docs/api.md from them: `make crds`.

mod reference;

use std::{fs, path::Path};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = top.join("crds");
    fs::create_dir_all(&folder)?;
    let mut definitions = Vec::new();
    for (file, crd) in testkit::api::crds() {
        let text = serde_yaml_ng::to_string(&crd)?;
        fs::write(
            folder.join(file),
            format!("# Generated from src/api by `make crds`; changes are made there.\n{text}"),
        )?;
        definitions.push(serde_json::to_value(&crd)?);
    }
    fs::write(top.join("docs/api.md"), reference::page(&definitions))?;
    Ok(())
}
