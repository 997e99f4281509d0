//! `Msvm_ConcreteJob`: every job while it is readable, with the live progress of its cell.

use std::sync::Arc;

use uuid::Uuid;

use crate::cim::{CimDatetime, CimInstance, ClassId, ObjectPath, Query, Resolved, Schema, Text, Value, write_cim_xml};
use crate::job::{Job, JobError, JobId, JobState, Timestamp};
use crate::provider::slots::slots;
use crate::provider::{Flow, Found, Key, Provider, ReadContext, SchemaMismatch, Sink, text_of};
use crate::replication::JobEntry;

use super::{datetime, demanded, guid, only, owned, parse_guid, single_key};

slots! {
    Slots of "Msvm_ConcreteJob" {
        instance_id: "InstanceID",
        caption: "Caption",
        description: "Description",
        element_name: "ElementName",
        install_date: "InstallDate",
        name: "Name",
        operational_status: "OperationalStatus",
        status_descriptions: "StatusDescriptions",
        status: "Status",
        health_state: "HealthState",
        job_status: "JobStatus",
        time_submitted: "TimeSubmitted",
        scheduled_start_time: "ScheduledStartTime",
        start_time: "StartTime",
        elapsed_time: "ElapsedTime",
        job_run_times: "JobRunTimes",
        local_or_utc_time: "LocalOrUtcTime",
        owner: "Owner",
        percent_complete: "PercentComplete",
        delete_on_completion: "DeleteOnCompletion",
        error_code: "ErrorCode",
        error_description: "ErrorDescription",
        error_summary_description: "ErrorSummaryDescription",
        job_state: "JobState",
        time_of_last_state_change: "TimeOfLastStateChange",
        time_before_removal: "TimeBeforeRemoval",
        cancellable: "Cancellable",
        job_type: "JobType",
    }
}

slots! {
    /// The embedded class of `GetError` and `GetErrorEx`.
    ErrorSlots of "Msvm_Error" {
        error_type: "ErrorType",
        owning_entity: "OwningEntity",
        message_id: "MessageID",
        message: "Message",
        perceived_severity: "PerceivedSeverity",
        probable_cause: "ProbableCause",
        probable_cause_description: "ProbableCauseDescription",
        recommended_actions: "RecommendedActions",
        error_source: "ErrorSource",
        error_source_format: "ErrorSourceFormat",
        cim_status_code: "CIMStatusCode",
        cim_status_code_description: "CIMStatusCodeDescription",
    }
}

/// The FILETIME zero, which clients read as "not started".
const NOT_STARTED: Timestamp = Timestamp(-11_644_473_600_000_000);

#[derive(Debug)]
pub(super) struct ConcreteJobs {
    slots: Slots,
    /// The name of each job type in the class's own value map.
    type_names: Vec<(u16, Arc<str>)>,
}

impl ConcreteJobs {
    pub(super) fn resolve(schema: &Schema) -> Result<Self, SchemaMismatch> {
        let slots = Slots::resolve(schema)?;
        let property = schema.class(slots.class).property_at(slots.job_type);
        let property = property.ok_or_else(|| SchemaMismatch("JobType".to_owned()))?;
        let type_names = (0..=999)
            .filter_map(|number| property.values.name_of(i64::from(number)).map(|name| (number, Arc::from(name))))
            .collect();
        Ok(Self { slots, type_names })
    }

    fn type_name(&self, job_type: u16) -> Text {
        let known = self.type_names.iter().find(|(number, _)| *number == job_type);
        known.map_or(Text::Static("Replication job"), |(_, name)| Text::from(name))
    }

    fn instance(&self, cx: &ReadContext<'_>, entry: &JobEntry) -> CimInstance {
        let (s, job) = (&self.slots, &entry.job);
        let mut instance = CimInstance::new(cx.schema.class(s.class));
        let type_name = self.type_name(job.job_type.0);
        instance.set(s.instance_id, guid(job.id.0));
        instance.set(s.caption, type_name.clone());
        instance.set(s.description, format!("{}: {}", &*type_name, job.subject_name));
        instance.set(s.element_name, type_name);
        instance.set(s.name, "Msvm_ConcreteJob");
        instance.set(s.install_date, datetime(Some(job.submitted)));
        self.set_status(&mut instance, job);
        instance.set(s.job_status, owned(&job.job_status));
        instance.set(s.time_submitted, datetime(Some(job.submitted)));
        instance.set(s.scheduled_start_time, datetime(Some(job.submitted)));
        instance.set(s.start_time, datetime(Some(job.started.unwrap_or(NOT_STARTED))));
        instance.set(s.elapsed_time, interval(job.elapsed(cx.now)));
        instance.set(s.job_run_times, 1_u32);
        instance.set(s.local_or_utc_time, 2_u16);
        instance.set(s.owner, owned(&job.owner));
        let live = if job.state.is_terminal() { job.percent_complete } else { entry.progress.percent() };
        instance.set(s.percent_complete, live.max(job.percent_complete));
        instance.set(s.delete_on_completion, true);
        instance.set(s.job_state, job.state.0);
        instance.set(s.time_of_last_state_change, datetime(Some(job.last_change)));
        instance.set(s.time_before_removal, interval(job.time_before_removal_ms.saturating_mul(1_000)));
        instance.set(s.cancellable, job.cancellable);
        instance.set(s.job_type, job.job_type.0);
        instance
    }

    fn set_status(&self, instance: &mut CimInstance, job: &Job) {
        let s = &self.slots;
        let failed = job.state == JobState::EXCEPTION;
        let (status, text, health) = if failed { (6_u16, "Error", 25_u16) } else { (2, "OK", 5) };
        instance.set(s.operational_status, Value::Array(vec![Value::Uint16(status)]));
        instance.set(s.status_descriptions, Value::Array(vec![Value::from(text)]));
        instance.set(s.status, text);
        instance.set(s.health_state, health);
        match &job.error {
            Some(error) => {
                instance.set(s.error_code, error.code);
                instance.set(s.error_description, owned(&error.description));
                instance.set(s.error_summary_description, owned(&error.summary));
            }
            None => instance.set(s.error_code, 0_u16),
        }
    }
}

fn interval(micros: u64) -> Value {
    Value::Datetime(CimDatetime::interval_from_micros(micros))
}

fn parse_job(instance_id: &str) -> Option<JobId> {
    parse_guid(instance_id).map(JobId)
}

impl Provider for ConcreteJobs {
    fn class(&self) -> ClassId {
        self.slots.class
    }

    fn is_about_vms(&self) -> bool {
        true
    }

    fn count(&self, cx: &ReadContext<'_>) -> Option<u64> {
        cx.view.jobs_len()
    }

    fn find(&self, cx: &ReadContext<'_>, path: &ObjectPath) -> Found {
        let Some(instance_id) = text_of(path, self.slots.instance_id) else { return Found::Unnamed };
        parse_job(instance_id).and_then(|id| cx.view.job(id)).map(|entry| self.instance(cx, entry)).into()
    }

    fn enumerate(
        &self,
        cx: &ReadContext<'_>,
        query: Option<&Query<Resolved>>,
        after: Option<Key>,
        sink: &mut dyn Sink,
    ) -> Flow {
        let key = |entry: &JobEntry| Key(entry.job.id.0.as_u128(), 0);
        if let Some(id) = demanded(query, self.slots.instance_id) {
            let entry = parse_job(id).and_then(|id| cx.view.job(id));
            return entry.map_or(Flow::End, |entry| only(key(entry), after, sink, || self.instance(cx, entry)));
        }
        for entry in cx.view.jobs_after(after.map(|key| JobId(Uuid::from_u128(key.0)))) {
            if sink.push(key(entry), self.instance(cx, entry)).is_break() {
                return Flow::Stopped;
            }
        }
        Flow::End
    }
}

/// Object paths of jobs.
#[derive(Debug)]
pub struct JobPaths {
    slots: Slots,
}

impl JobPaths {
    pub(crate) fn resolve(schema: &Schema) -> Result<Self, SchemaMismatch> {
        Ok(Self { slots: Slots::resolve(schema)? })
    }

    pub(crate) fn path(&self, job: JobId) -> ObjectPath {
        single_key(self.slots.class, self.slots.instance_id, guid(job.0))
    }

    pub(crate) fn id(&self, instance: &CimInstance) -> Option<JobId> {
        let id = instance.get(self.slots.instance_id).as_str().filter(|_| instance.class == self.slots.class);
        id.and_then(parse_job)
    }
}

/// The job that an instance of `Msvm_ConcreteJob` is about.
pub(crate) fn job_of(cx: &ReadContext<'_>, target: &CimInstance) -> Option<JobId> {
    let class = cx.schema.class(target.class);
    class.slot("InstanceID").and_then(|slot| target.get(slot).as_str()).and_then(parse_job)
}

/// The errors of a job as CIM-XML texts of `Msvm_Error`, the main one first; empty when nothing went wrong.
pub(crate) fn errors_of(cx: &ReadContext<'_>, slots: &ErrorSlots, job: JobId) -> Vec<String> {
    let Some(entry) = cx.view.job(job) else { return Vec::new() };
    let Some(error) = &entry.job.error else { return Vec::new() };
    let source = format!(
        "\\\\{}\\root\\virtualization\\v2:Msvm_ConcreteJob.InstanceID=\"{}\"",
        cx.view.host_name(),
        &*guid(job.0)
    );
    std::iter::once(error)
        .chain(&error.details)
        .map(|error| {
            let mut text = String::new();
            write_cim_xml(&error_instance(cx.schema, slots, error, &source), cx.schema, &mut text);
            text
        })
        .collect()
}

fn error_instance(schema: &Schema, s: &ErrorSlots, error: &JobError, source: &str) -> CimInstance {
    let mut instance = CimInstance::new(schema.class(s.class));
    instance.set(s.error_type, 4_u16);
    instance.set(s.owning_entity, "failbackd");
    instance.set(s.message_id, owned(&error.message_id));
    instance.set(s.message, owned(&error.description));
    instance.set(s.perceived_severity, 4_u16);
    instance.set(s.probable_cause, error.probable_cause);
    instance.set(s.probable_cause_description, owned(&error.probable_cause_description));
    let actions = error.recommended_actions.iter().map(|action| owned(action)).collect();
    instance.set(s.recommended_actions, Value::Array(actions));
    instance.set(s.error_source, owned(source));
    instance.set(s.error_source_format, 2_u16);
    instance.set(s.cim_status_code, 1_u32);
    instance.set(s.cim_status_code_description, "CIM_ERR_FAILED");
    instance
}
