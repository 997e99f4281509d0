//! Follows a job over the protocol to its end, with a bar on a terminal and plain lines elsewhere.

use super::print;
use super::{Failure, Outcome};
use crate::client::{Client, ClientError, Instance};
use crate::job::JobState;
use crate::soap::EndpointReference;
use crate::xml::{Document, Element, Limits};
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::Cell;
use std::time::Duration;

/// How often a job is asked for: often enough for a bar that moves.
const POLL_INTERVAL: Duration = Duration::from_millis(150);

/// A job at its end, and what was seen on the way.
pub(crate) struct Followed {
    pub(crate) job: Instance,
    /// The JobStates, each time another one was seen.
    pub(crate) job_states: Vec<u64>,
    /// The ReplicationStates of the VM that the job works on, when it was watched.
    pub(crate) vm_states: Vec<u64>,
}

/// Shows how far a job is.
pub(crate) struct Bar {
    moving: Option<ProgressBar>,
    name: String,
    told: Cell<u64>,
}

impl Bar {
    pub(crate) fn new(name: &str) -> Self {
        let moving = print::on_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos:>3} %  {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(100).with_style(style.progress_chars("=> ")).with_prefix(name.to_owned())
        });
        Self { moving, name: name.to_owned(), told: Cell::new(u64::MAX) }
    }

    fn show(&self, job: &Instance) {
        let percent = job.number("PercentComplete").unwrap_or_default();
        let status = job.text("JobStatus").unwrap_or_default();
        if let Some(bar) = &self.moving {
            bar.set_position(percent);
            bar.set_message(status.to_owned());
        } else if self.told.get() == u64::MAX || percent >= self.told.get().saturating_add(20) {
            self.told.set(percent);
            print::note(&format!("{}: {percent} %  {status}", self.name));
        }
    }

    /// Leaves the last word on the screen.
    pub(crate) fn finish(&self, job: &Instance) {
        let state = job.number("JobState").unwrap_or_default();
        let word = state_word(state);
        if let Some(bar) = &self.moving {
            bar.set_position(job.number("PercentComplete").unwrap_or_default());
            bar.finish_with_message(format!("{word} ({state})"));
        } else {
            print::note(&format!("{}: {word} ({state})", self.name));
        }
    }
}

/// Asks for the job, and for the VM that it works on when one is given, until the job has ended.
pub(crate) async fn follow(
    client: &mut Client,
    job: &EndpointReference,
    vm: Option<&EndpointReference>,
    bar: &Bar,
) -> Result<Followed, ClientError> {
    let (mut job_states, mut vm_states) = (Vec::new(), Vec::new());
    loop {
        let instance = client.get_reference(job).await?;
        let state = instance.number("JobState").ok_or_else(|| {
            ClientError::Answer(format!("the job reference names a {} without a JobState", instance.class))
        })?;
        push_new(&mut job_states, state);
        if let Some(vm) = vm {
            let seen = client.get_reference(vm).await?;
            push_new(&mut vm_states, seen.number("ReplicationState").unwrap_or_default());
        }
        bar.show(&instance);
        if is_terminal(state) {
            return Ok(Followed { job: instance, job_states, vm_states });
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Remembers a state when it is not the one that was seen last.
pub(crate) fn push_new(states: &mut Vec<u64>, state: u64) {
    if states.last() != Some(&state) {
        states.push(state);
    }
}

/// Success for a completed job; else the failure with what GetErrorEx tells.
pub(crate) async fn judge(client: &mut Client, job: &EndpointReference, ended: &Instance) -> Outcome {
    let state = ended.number("JobState").unwrap_or_default();
    if [JobState::COMPLETED, JobState::COMPLETED_WITH_WARNINGS].iter().any(|good| u64::from(good.0) == state) {
        return Ok(());
    }
    let mut text = format!("the job ended {} ({state})", state_word(state));
    if let Some(description) = ended.text("ErrorDescription").filter(|description| !description.is_empty()) {
        text.push_str(": ");
        text.push_str(description);
    }
    let uri = job.resource_uri.clone().unwrap_or_default();
    if let Ok(output) = client.invoke(&uri, &job.selectors, "GetErrorEx", &[]).await {
        for error in output.get("Errors").map(|errors| errors.texts()).unwrap_or_default() {
            text.push('\n');
            text.push_str(&error_text(error));
        }
    }
    Err(Failure::Job(text))
}

/// True when a job cannot change any more.
fn is_terminal(state: u64) -> bool {
    u16::try_from(state).is_ok_and(|state| JobState(state).is_terminal())
}

/// The name of a JobState (DSP1103; 32768 is Windows' own).
pub(crate) fn state_word(state: u64) -> &'static str {
    u16::try_from(state).ok().and_then(|state| JobState(state).text()).unwrap_or("in an unknown state")
}

/// The lines of an embedded CIM_Error that help its reader; the text itself when it is none.
fn error_text(embedded: &str) -> String {
    let Ok(document) = Document::parse(embedded, &Limits::default()) else { return format!("  {embedded}") };
    let told = [
        ("Message", "what happened"),
        ("MessageID", "message id"),
        ("ProbableCauseDescription", "probable cause"),
        ("RecommendedActions", "what to do"),
        ("ErrorSource", "source"),
    ];
    let rows: Vec<(String, String)> = told
        .iter()
        .map(|(name, label)| (format!("  {label}"), property(document.root(), name)))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    print::pairs(&rows)
}

/// All values of a property in CIM-XML (DSP0201), joined.
fn property(instance: Element<'_>, name: &str) -> String {
    let Some(found) = instance.children().find(|child| child.attribute("", "NAME").is_some_and(|known| known == name))
    else {
        return String::new();
    };
    let values = found.children().flat_map(|child| match child.local() {
        "VALUE.ARRAY" => child.children().collect::<Vec<_>>(),
        _ => vec![child],
    });
    values.map(|value| value.text().into_owned()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_embedded_error_is_told_in_lines() {
        let text = error_text(
            r#"<INSTANCE CLASSNAME="Msvm_Error"><PROPERTY NAME="Message" TYPE="string"><VALUE>no space</VALUE></PROPERTY><PROPERTY NAME="MessageID" TYPE="string"><VALUE>FBD2007</VALUE></PROPERTY><PROPERTY.ARRAY NAME="RecommendedActions" TYPE="string"><VALUE.ARRAY><VALUE>free some</VALUE><VALUE>try again</VALUE></VALUE.ARRAY></PROPERTY.ARRAY></INSTANCE>"#,
        );
        assert_eq!(
            text,
            "  what happened : no space\n  message id    : FBD2007\n  what to do    : free some; try again"
        );
        assert_eq!(error_text("plain"), "  plain");
    }

    #[test]
    fn only_the_last_states_end_a_job() {
        let ended: Vec<u64> = (0..20).chain([32768]).filter(|state| is_terminal(*state)).collect();
        assert_eq!(ended, [7, 8, 9, 10, 32768]);
    }
}
