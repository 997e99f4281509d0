//! `job`: the jobs of a data directory, asked from its server when one runs, else read from the store.

use super::follow;
use super::place::Place;
use super::print;
use super::{Failure, Outcome, block_on};
use crate::client::{Argument, Client, Enumeration, Instance, Item};
use crate::job::{Job, JobId, JobState};
use crate::replication::{JobEntry, View};
use crate::soap::{EndpointReference, SelectorSet};
use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;

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
                let mut jobs: Vec<Line> = match place.server().await? {
                    Some(mut client) => listed(&mut client).await?,
                    None => place.view().await?.jobs_after(None).map(|entry| Line::from_entry(entry)).collect(),
                };
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
    /// When it was submitted, as a text that sorts; both sources are never in one list.
    submitted: String,
}

impl Line {
    fn from_entry(entry: &JobEntry) -> Self {
        let Job { id, job_type, subject_name, state, job_status, submitted, .. } = &entry.job;
        Self {
            id: print::guid(id.0),
            name: format!("{}: {subject_name}", job_type.text().unwrap_or("Job")),
            state: u64::from(state.0),
            percent: u64::from(entry.percent_complete()),
            status: job_status.clone(),
            submitted: format!("{:020}", submitted.0),
        }
    }

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

async fn listed(client: &mut Client) -> Result<Vec<Line>, Failure> {
    let enumeration = Enumeration { resource_uri: Place::class("Msvm_ConcreteJob"), ..Enumeration::default() };
    let mut jobs = Vec::new();
    client
        .enumerate(&enumeration, |page| {
            for item in page {
                if let Item::Object(instance, _) = item {
                    jobs.push(Line::from_instance(&instance));
                }
            }
        })
        .await?;
    Ok(jobs)
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
    if let Some(mut client) = place.server().await? {
        let instance = client.get_reference(&reference(id)).await?;
        if as_json {
            print::line(&format!("{:#}", print::instance_json(&instance)));
        } else {
            print::line(&print::instance_text(&instance));
        }
        return Ok(());
    }
    let view = place.view().await?;
    let entry = find(&view, id)?;
    if as_json {
        let job = serde_json::to_value(&entry.job).map_err(|error| Failure::from_error(&error))?;
        print::line(&format!("{job:#}"));
    } else {
        print::line(&print::pairs(&stored(entry)));
    }
    Ok(())
}

fn find(view: &View, id: Uuid) -> Result<&JobEntry, Failure> {
    let found = view.job(JobId(id));
    found.map(|entry| &**entry).ok_or_else(|| Failure::Failed(format!("there is no job {}", print::guid(id))))
}

/// A job as the store has it, told at length.
fn stored(entry: &JobEntry) -> Vec<(String, String)> {
    let job = &entry.job;
    let moment = |micros: Option<crate::job::Timestamp>| micros.map(print::moment).unwrap_or_default();
    let mut rows = vec![
        ("Job", print::guid(job.id.0)),
        ("Type", job.job_type.to_string()),
        ("VM", format!("{} ({})", job.subject_name, job.subject)),
        ("Owner", job.owner.clone()),
        ("State", job.state.to_string()),
        ("Done", format!("{} %", entry.percent_complete())),
        ("Status", job.job_status.clone()),
        ("Step", job.phase.clone()),
        ("Submitted", moment(Some(job.submitted))),
        ("Started", moment(job.started)),
        ("Ended", moment(job.ended)),
    ];
    if let Some(error) = &job.error {
        rows.push(("Error", format!("{} {}", error.message_id, error.description)));
        rows.push(("Probable cause", error.probable_cause_description.clone()));
        rows.push(("What to do", error.recommended_actions.join("\n")));
    }
    if let Some(report) = &job.report {
        rows.push((
            "Compared",
            format!("{} blocks, {}", report.blocks_compared, print::octets(report.octets_compared)),
        ));
        rows.push(("Moved", format!("{} in {} rounds", print::octets(report.octets_moved), report.rounds)));
        rows.push(("Downtime", format!("{} ms", report.downtime_ms)));
        rows.push(("Left behind", print::octets(report.octets_left_behind)));
        rows.push(("Verified", report.verified.clone()));
    }
    rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
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
    EndpointReference::anonymous(Place::class("Msvm_ConcreteJob"), keys)
}
