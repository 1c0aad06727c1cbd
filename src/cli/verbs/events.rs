//! `events`: what was told of a cluster or a run, and what is told from now on.

use k8s_openapi::api::core::v1::Event;
use kube::ResourceExt;
use serde_json::Value;

use crate::cli::{
    Context,
    failure::Failure,
    kubernetes::{
        Kubernetes, Named, events, follow,
        seen::{self, Versions},
    },
    output::{self, Format},
};

/// Print the events of a cluster, or of a run when it is named as run/NAME
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit events nightly                what was told of it, the latest last
  kubectl testkit events nightly -f             and what is told from then on, until Ctrl-C
  kubectl testkit events run/first --types Warning
  kubectl testkit events nightly -o jsonpath='{.items[*].reason}'

An API server keeps events for an hour, where nobody has told it otherwise.")]
pub struct Args {
    /// The name of a cluster, or run/NAME
    #[arg(add = crate::cli::shell::complete::clusters_and_runs())]
    name: String,
    /// Go on and print those that come
    #[arg(short, long, visible_short_alias = 'w', visible_alias = "watch")]
    follow: bool,
    /// Only events of these types: Normal, Warning
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// How to print them [default: a table]
    #[arg(short, long, value_name = "FORMAT", add = output::forms())]
    output: Option<Format>,
    /// Without the headings of the table
    #[arg(long)]
    no_headers: bool,
}

/// Prints them.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let kubernetes = context.kubernetes().await?;
    let uid = uid(&kubernetes, &args.name).await?;
    let mut found = events::of(&kubernetes, &uid).await?;
    found.retain(|event| is_wanted(args, event));
    let printer = &context.printer;
    let now = jiff::Timestamp::now();
    match &args.output {
        Some(format) => {
            let items = found.iter().map(output::value).collect::<Result<Vec<Value>, _>>()?;
            format.print(printer, &output::list(&items), args.no_headers)?;
        }
        None if found.is_empty() => printer.note(format_args!("There are no events of {}.", args.name)),
        None => {
            printer.bytes(events::table(&found, now).headless(args.no_headers).render(printer).as_bytes())?;
        }
    }
    if !args.follow {
        return Ok(());
    }
    let seen = Versions::new(found.iter().map(seen::of).collect());
    follow::changes(&kubernetes, "events", false, &events::pick(&uid), |event: Event| {
        if !is_wanted(args, &event) || !seen.is_new(&event) {
            return Ok(());
        }
        match &args.output {
            Some(format) => format.print_next(printer, &output::value(&event)?),
            None => {
                let row = events::table(std::slice::from_ref(&event), jiff::Timestamp::now());
                printer.bytes(row.headless(true).render(printer).as_bytes())
            }
        }
    })
    .await
}

async fn uid(kubernetes: &Kubernetes, word: &str) -> Result<String, Failure> {
    let Named { is_run, name } = word.parse()?;
    let uid = match is_run {
        true => kubernetes.run(&name).await?.uid(),
        false => kubernetes.cluster(&name).await?.uid(),
    };
    uid.ok_or_else(|| Failure::new(format!("{word} has no UID")))
}

fn is_wanted(args: &Args, event: &Event) -> bool {
    let is = event.type_.as_deref().unwrap_or_default();
    args.types.is_empty() || args.types.iter().any(|wanted| wanted.eq_ignore_ascii_case(is))
}
