//! Starting instances that somebody stopped.

use super::{Actor, Effect, Failure};

impl Actor<'_> {
    /// Each by itself, so that it is known which of them cannot be. The first refusal is told.
    pub(super) async fn start(&self, ids: &[String]) -> Result<Effect, Failure> {
        let mut refused = None;
        for id in ids {
            if let Err(error) = self.cloud.account.cloud.start(id).await {
                self.context.remember(&self.owner.uid, |memory| memory.note_start(id, &error));
                refused.get_or_insert(error);
            }
        }
        self.cloud.account.inventory.poke();
        refused.map_or(Ok(Effect::Waits), |error| Err(error.into()))
    }
}
