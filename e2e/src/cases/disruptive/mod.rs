//! Cases that disturb the cluster. They run alone and last, and only when asked for. What they change is brought
//! back and compared by the harness, whatever becomes of them: see `harness::found`.

mod managers;
mod membership;
mod nodes;
mod settings;

use crate::harness::case::Case;

pub(super) fn cases() -> Vec<Case> {
    let cases = [nodes::cases(), managers::cases(), membership::cases(), settings::cases()].concat();
    cases.into_iter().map(Case::disruptive).collect()
}
