//! What is said of the connections of an attach.

use crate::{
    attach::Event,
    cli::{Context, terminal::Style},
};

/// Says what happens to the connections.
pub async fn tell(context: &Context, mut said: tokio::sync::mpsc::UnboundedReceiver<Event>) {
    let printer = &context.printer;
    while let Some(event) = said.recv().await {
        let strong = |name: &str| printer.paint_err(Style::Strong, name);
        match event {
            Event::Home { node, instead_of: None, .. } => {
                printer.detail(format_args!("containers and images are those of {node}"));
            }
            Event::Home { node, instead_of: Some((before, why)), back, note } => {
                let note = note.map(|note| format!("; {note}")).unwrap_or_default();
                let what = if back { "goes back" } else { "goes over" };
                printer.warn(format_args!(
                    "{why}: attach {what} from {before} to {}, whose containers and images are meant from here on{note}",
                    strong(&node)
                ));
            }
            Event::GivenUp { node, why } => {
                printer.warn(format_args!("{why}: what {} has fails until it is back", strong(&node)));
            }
            Event::Again { node } => printer.warn(format_args!("{} is back", strong(&node))),
            Event::Lost { node, why, home: true } => printer.warn(format_args!(
                "the connection to {} is lost: {why}; its streams have ended, and what else it has waits for it",
                strong(&node)
            )),
            Event::Lost { node, why, home: false } => {
                printer.detail(format_args!("the connection to {node} is lost: {why}"));
            }
            Event::NotConnected { node, why } => printer.detail(format_args!("no connection to {node}: {why}")),
        }
    }
    std::future::pending::<()>().await;
}
