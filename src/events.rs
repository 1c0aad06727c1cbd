//! Events: the one way they are written, bounded and plain, whoever's words they tell.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder};

use crate::api::event_note;

/// Writes Events.
#[derive(Clone)]
pub struct Events(Recorder);

/// Whether somebody should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// All goes as it should.
    Normal,
    /// It does not.
    Warning,
}

impl Events {
    /// Writes through this recorder.
    #[must_use]
    pub const fn new(recorder: Recorder) -> Self {
        Self(recorder)
    }

    /// Writes an Event about an object. One that cannot be written holds nobody up: it is logged, and the answer is false.
    pub async fn publish(
        &self,
        about: &ObjectReference,
        severity: Severity,
        action: &str,
        reason: &str,
        words: &str,
        related: Option<ObjectReference>,
    ) -> bool {
        let event = Event {
            type_: match severity {
                Severity::Normal => EventType::Normal,
                Severity::Warning => EventType::Warning,
            },
            action: action.to_owned(),
            reason: reason.to_owned(),
            note: Some(event_note(words)),
            secondary: related,
        };
        let written = self.0.publish(&event, about).await;
        if let Err(error) = &written {
            tracing::warn!(%error, "writing an Event failed");
        }
        written.is_ok()
    }
}
