//! `job`: the jobs of a data directory, asked from its server when one runs, else read from the store.

use super::follow;
use super::place::Place;
use super::print;
use super::source::Source;
use super::{Failure, Outcome, block_on};
use crate::client::{Argument, Instance};
use crate::job::{JobId, JobState};
use crate::replication::{JobEntry, View};
use crate::soap::{EndpointReference, SelectorSet};
use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;

/// The class of jobs.
const CLASS: &str = "Msvm_ConcreteJob";

/// What `job` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    operation: Operation,
}

#[derive(Debug, Subcommand)]
enum Operation {
    /// List the jobs
    List {
        #[command(flatten)]
        place: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one job with all that is known of it
    Show {
        #[command(flatten)]
        place: Place,
        /// The job's InstanceID
        id: Uuid,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Cancel a job that has not ended
    Cancel {
        #[command(flatten)]
        place: Place,
        /// The job's InstanceID
        id: Uuid,
        /// Wait until it has ended
        #[arg(long)]
        wait: bool,
    },
}

/// Runs one operation.
pub fn run(arguments: Arguments) -> Outcome {
    block_on(async {
        match arguments.operation {
            Operation::List { place, json } => {
                let jobs = Source::of(&place).await?.all(CLASS).await?;
                let mut jobs: Vec<Line> = jobs.iter().map(Line::from_instance).collect();
                jobs.sort_by(|a, b| (&a.submitted, &a.id).cmp(&(&b.submitted, &b.id)));
                show_list(&jobs, json);
                Ok(())
            }
            Operation::Show { place, id, json } => show(&place, id, json).await,
            Operation::Cancel { place, id, wait } => cancel(&place, id, wait).await,
        }
    })
}

/// One line of the list.
struct Line {
    id: String,
    name: String,
    state: u64,
    percent: u64,
    status: String,
    /// When it was submitted, as a text that sorts.
    submitted: String,
}

impl Line {
    fn from_instance(instance: &Instance) -> Self {
        let text = |name: &str| instance.text(name).unwrap_or_default().to_owned();
        Self {
            id: text("InstanceID"),
            name: text("Description"),
            state: instance.number("JobState").unwrap_or_default(),
            percent: instance.number("PercentComplete").unwrap_or_default(),
            status: text("JobStatus"),
            submitted: text("TimeSubmitted"),
        }
    }
}

fn show_list(jobs: &[Line], as_json: bool) {
    if as_json {
        let list: serde_json::Value = jobs
            .iter()
            .map(|job| {
                let (id, name, state) = (&job.id, &job.name, &job.state);
                json!({ "id": id, "name": name, "state": state, "percent": job.percent, "status": job.status })
            })
            .collect();
        return print::line(&format!("{list:#}"));
    }
    if jobs.is_empty() {
        return print::line("no jobs");
    }
    let rows: Vec<Vec<String>> = jobs
        .iter()
        .map(|job| {
            let state = follow::state_word(job.state).to_owned();
            vec![job.id.clone(), job.name.clone(), state, format!("{} %", job.percent), job.status.clone()]
        })
        .collect();
    print::line(&print::table(&["Job", "Name", "State", "Done", "Status"], &rows));
}

async fn show(place: &Place, id: Uuid, as_json: bool) -> Outcome {
    let found = Source::of(place).await?.named(CLASS, "InstanceID", &print::guid(id)).await?;
    let job = found.ok_or_else(|| missing(id))?;
    print::line(&if as_json { format!("{:#}", print::instance_json(&job)) } else { told(&job) });
    Ok(())
}

/// A job at length.
fn told(job: &Instance) -> String {
    let text = |name: &str| job.text(name).unwrap_or_default().to_owned();
    let number = |name: &str| job.number(name).unwrap_or_default();
    let ended = JobState(u16::try_from(number("JobState")).unwrap_or_default()).is_terminal();
    let failed = number("ErrorCode") != 0;
    let error = if failed { text("ErrorDescription") } else { String::new() };
    print::told(&[
        ("Job", text("InstanceID")),
        ("Name", text("Description")),
        ("Owner", text("Owner")),
        ("State", follow::state_word(number("JobState")).to_owned()),
        ("Done", format!("{} %", number("PercentComplete"))),
        ("Status", text("JobStatus")),
        ("Submitted", print::moment(job, "TimeSubmitted")),
        ("Started", print::moment(job, "StartTime")),
        (if ended { "Ended" } else { "Changed" }, print::moment(job, "TimeOfLastStateChange")),
        ("Error", error),
    ])
}

fn missing(id: Uuid) -> Failure {
    Failure::Failed(format!("there is no job {}", print::guid(id)))
}

fn find(view: &View, id: Uuid) -> Result<&JobEntry, Failure> {
    view.job(JobId(id)).map(|entry| &**entry).ok_or_else(|| missing(id))
}

async fn cancel(place: &Place, id: Uuid, wait: bool) -> Outcome {
    let Some(mut client) = place.server().await? else {
        let view = place.view().await?;
        let entry = find(&view, id)?;
        return Err(Failure::Failed(if entry.job.state.is_terminal() {
            format!("the job has ended already: {}", entry.job.state)
        } else {
            "no server runs on this data directory, so nobody works on the job; start the server, then cancel"
                .to_owned()
        }));
    };
    let job = reference(id);
    let uri = job.resource_uri.clone().unwrap_or_default();
    // RequestStateChange(4): Terminate (DSP1103, CIM_ConcreteJob).
    let arguments = [("RequestedState".to_owned(), Argument::Text("4".to_owned()))];
    let output = client.invoke(&uri, &job.selectors, "RequestStateChange", &arguments).await?;
    match output.number("ReturnValue") {
        Some(0 | 4096) => {}
        Some(4097) => return Err(Failure::Refused("the job can no longer be cancelled (4097)".to_owned())),
        other => {
            let value = other.map_or_else(|| "nothing".to_owned(), print::return_value);
            return Err(Failure::Refused(format!("RequestStateChange answered {value}")));
        }
    }
    if !wait {
        print::line("cancel requested");
        return Ok(());
    }
    let bar = follow::Bar::new("cancel");
    let followed = follow::follow(&mut client, &job, None, &bar).await?;
    bar.finish(&followed.job);
    match followed.job.number("JobState") {
        Some(state) if state == u64::from(JobState::COMPLETED.0) => {
            Err(Failure::Job("the job completed before the cancel reached it".to_owned()))
        }
        _ => Ok(()),
    }
}

fn reference(id: Uuid) -> EndpointReference {
    let keys = SelectorSet::default().with("InstanceID", print::guid(id));
    EndpointReference::anonymous(Place::class(CLASS), keys)
}
