//! Which runs a matrix asks for: combinations, their names, and what they make of the template. Pure.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::api::{AmiSelector, Axes, Combination, E2EMatrixSpec, EngineSpec, MOST, RunTemplate};

/// The most characters of a run's name, as its own rule has it.
const NAME: usize = 63;
/// How many characters tell combinations apart whose names would be equal, or are cut.
const HASH: usize = 8;

/// The combinations of a spec, in the order in which they are run.
///
/// # Errors
/// In words, where none is left, or there are more than a matrix may have.
pub fn combinations(spec: &E2EMatrixSpec) -> Result<Vec<Combination>, String> {
    let mut all = product(&spec.axes);
    all.retain(|one| !spec.exclude.iter().any(|out| has(one, out)));
    // What is included is held against what the axes gave, and not against what was included before.
    let of_axes = all.clone();
    for more in &spec.include {
        let mut taken = false;
        for (one, original) in all.iter_mut().zip(&of_axes) {
            if agrees(original, more) {
                *one = with(one, more);
                taken = true;
            }
        }
        if !taken {
            all.push(more.clone());
        }
    }
    let mut seen = Vec::new();
    all.retain(|one| {
        let new = !seen.contains(one);
        seen.push(one.clone());
        new
    });
    match all.len() {
        0 => {
            Err("spec.exclude leaves no combination: write less there, or more in spec.axes or spec.include".to_owned())
        }
        many if many > MOST => Err(format!("there are {many} combinations: write at most {MOST}")),
        _ => Ok(all),
    }
}

/// Each value of each axis with each of the others; nothing where there is no axis.
fn product(axes: &Axes) -> Vec<Combination> {
    /// Each of these combinations with each of these values.
    fn by<T: Clone>(all: Vec<Combination>, values: &[T], put: impl Fn(&mut Combination, T)) -> Vec<Combination> {
        if values.is_empty() {
            return all;
        }
        let each = |one: &Combination| {
            let one = one.clone();
            let put = &put;
            values
                .iter()
                .cloned()
                .map(move |value| {
                    let mut one = one.clone();
                    put(&mut one, value);
                    one
                })
                .collect::<Vec<_>>()
        };
        all.iter().flat_map(each).collect()
    }
    let Axes { engine_version, ami, managers, workers, image } = axes;
    let all = vec![Combination::default()];
    let all = by(all, engine_version, |one, value| one.engine_version = Some(value));
    let all = by(all, ami, |one, value| one.ami = Some(value));
    let all = by(all, managers, |one, value| one.managers = Some(value));
    let all = by(all, workers, |one, value| one.workers = Some(value));
    let mut all = by(all, image, |one, value| one.image = Some(value));
    all.retain(|one| *one != Combination::default());
    all
}

/// Whether a field that one has is equal in the other, where that has it, or is not there.
fn fields_agree<T: PartialEq>(one: Option<&T>, other: Option<&T>, without: bool) -> bool {
    match (one, other) {
        (_, None) => true,
        (None, Some(_)) => without,
        (Some(one), Some(other)) => one == other,
    }
}

/// Whether all that `part` says is so in `one`; `without`: also where `one` says nothing of it.
fn fits(one: &Combination, part: &Combination, without: bool) -> bool {
    let Combination { engine_version, ami, managers, workers, image } = part;
    fields_agree(one.engine_version.as_ref(), engine_version.as_ref(), without)
        && fields_agree(one.ami.as_ref(), ami.as_ref(), without)
        && fields_agree(one.managers.as_ref(), managers.as_ref(), without)
        && fields_agree(one.workers.as_ref(), workers.as_ref(), without)
        && fields_agree(one.image.as_ref(), image.as_ref(), without)
}

/// Whether a combination is one of those that are meant.
fn has(one: &Combination, part: &Combination) -> bool {
    fits(one, part, false)
}

/// Whether what is included can be added to a combination without changing what the axes gave it.
fn agrees(one: &Combination, more: &Combination) -> bool {
    fits(one, more, true)
}

/// A combination with what else is said of it.
fn with(one: &Combination, more: &Combination) -> Combination {
    let Combination { engine_version, ami, managers, workers, image } = more.clone();
    let one = one.clone();
    Combination {
        engine_version: engine_version.or(one.engine_version),
        ami: ami.or(one.ami),
        managers: managers.or(one.managers),
        workers: workers.or(one.workers),
        image: image.or(one.image),
    }
}

/// The template of a combination.
#[must_use]
pub fn applied(template: &RunTemplate, combination: &Combination) -> RunTemplate {
    let mut template = template.clone();
    let Combination { engine_version, ami, managers, workers, image } = combination.clone();
    let run = &mut template.spec;
    if let Some(image) = image {
        run.image = image;
    }
    if let Some(cluster) = run.cluster_template.as_mut().map(|cluster| &mut cluster.spec) {
        cluster.managers = managers.unwrap_or(cluster.managers);
        cluster.workers = workers.unwrap_or(cluster.workers);
        if engine_version.is_some() {
            cluster.engine.get_or_insert_with(EngineSpec::default).version = engine_version;
        }
        if let Some((id, ec2)) = ami.zip(cluster.provider.ec2.as_mut()) {
            ec2.ami = Some(AmiSelector { id: Some(id), ..AmiSelector::default() });
        }
    }
    template
}

/// The names of the runs of these combinations: readable, and each another one.
#[must_use]
pub fn names(matrix: &str, combinations: &[Combination]) -> Vec<String> {
    let words: Vec<String> = combinations.iter().map(words).collect();
    let mut many: BTreeMap<&str, usize> = BTreeMap::new();
    for one in &words {
        *many.entry(one).or_default() += 1;
    }
    let room = NAME.saturating_sub(matrix.len() + 1);
    let name = |(word, combination): (&String, &Combination)| {
        if word.len() <= room && many.get(word.as_str()) == Some(&1) {
            return format!("{matrix}-{word}");
        }
        let cut: String = word.chars().take(room.saturating_sub(HASH + 1)).collect();
        format!("{matrix}-{}-{}", cut.trim_end_matches(['-', '.']), hash(combination))
    };
    words.iter().zip(combinations).map(name).collect()
}

/// A combination in a few words that a name may have, such as `28.5-m3-w2-e2e-latest`.
fn words(combination: &Combination) -> String {
    let Combination { engine_version, ami, managers, workers, image } = combination;
    let parts = [
        engine_version.clone(),
        ami.clone(),
        managers.map(|n| format!("m{n}")),
        workers.map(|n| format!("w{n}")),
        // Without registry and folders, which are equal in most cases.
        image.as_ref().map(|image| image.rsplit('/').next().unwrap_or_default().replace('.', "-")),
    ];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join("-");
    let letter = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' };
    let mut words = String::new();
    for c in text.chars().map(letter) {
        if c != '-' || !words.ends_with('-') {
            words.push(c);
        }
    }
    words.trim_matches(['-', '.']).to_owned()
}

/// What tells a combination from all others: of its values, and not of where it stands.
fn hash(combination: &Combination) -> String {
    let text = serde_json::to_string(combination).unwrap_or_default();
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().chars().take(HASH).collect()
}

#[cfg(test)]
mod tests;
