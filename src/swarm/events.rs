//! That something changed, as engines tell it.

use std::collections::HashMap;

use bollard::query_parameters::EventsOptionsBuilder;
use futures::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc;

use super::{ENDLESS, Engine};

impl Engine {
    /// Something for every event that the filters let through, until the connection or the engine ends.
    /// Events that come while nobody looks are one.
    pub(super) fn changes(&self, filters: &HashMap<&str, Vec<&str>>) -> impl Stream<Item = ()> + Send + Unpin + use<> {
        let options = EventsOptionsBuilder::new().filters(filters).build();
        let mut events = self.stream(ENDLESS, |docker| docker.events(Some(options)));
        let (sender, receiver) = mpsc::channel(1);
        // Read at once, whatever the listener does: a stream that is not read stalls the connection.
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = sender.closed() => return,
                    event = events.next() => match event {
                        Some(Ok(_)) => { let _ = sender.try_send(()); }
                        Some(Err(error)) => {
                            tracing::debug!(%error, "the engine's events end");
                            return;
                        }
                        None => return,
                    },
                }
            }
        });
        Box::pin(stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|()| ((), receiver))))
    }
}
