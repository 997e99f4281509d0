//! The demonstration itself: what a client does, over TCP and by the public protocol alone.

use super::image;
use super::lab::{LabVm, SavedPoint};
use crate::cli::arguments::parse_resource;
use crate::cli::follow::{self, Bar, Followed};
use crate::cli::print;
use crate::cli::{Failure, Outcome};
use crate::client::{Argument, Client, Enumeration, Instance, Item};
use crate::job::JobReport;
use crate::soap::EndpointReference;
use uuid::Uuid;

/// The namespace of the virtualization classes.
const NAMESPACE: &str = "root/virtualization/v2";
/// The method's return value when a job was started.
const STARTED: u64 = 4096;

/// What a failback did, for the table at the end.
pub(crate) struct Row {
    name: String,
    report: JobReport,
    job_states: Vec<u64>,
    vm_states: Vec<u64>,
    verification: Result<String, String>,
}

impl Row {
    /// True when the data was checked and is what was promised.
    pub(crate) fn holds(&self) -> bool {
        self.verification.is_ok()
    }
}

/// The client's side of the demonstration.
pub(crate) struct Story<'a> {
    /// The connection to the server, over TCP.
    pub(crate) client: Client,
    /// What a finished job reports; the protocol only carries its words.
    pub(crate) report_of: &'a dyn Fn(Uuid) -> Option<JobReport>,
}

impl Story<'_> {
    /// Shows who answers and which VMs there are.
    pub(crate) async fn introduce(&mut self) -> Outcome {
        let identity = self.client.identify().await?;
        print::line(&format!(
            "Identify: {} {}",
            identity.text("ProductVendor").unwrap_or("?"),
            identity.text("ProductVersion").unwrap_or("?")
        ));
        let mut rows = Vec::new();
        for system in self.list(format!("SELECT * FROM Msvm_ComputerSystem WHERE Caption = '{VM_CAPTION}'")).await? {
            let column = |name: &str| system.text(name).unwrap_or_default().to_owned();
            rows.push(
                ["ElementName", "Name", "EnabledState", "ReplicationMode", "ReplicationState"].map(column).to_vec(),
            );
        }
        rows.sort();
        print::line("Enumerate Msvm_ComputerSystem:");
        print::line(&print::table(
            &["ElementName", "Name", "EnabledState", "ReplicationMode", "ReplicationState"],
            &rows,
        ));
        Ok(())
    }

    /// Brings a VM home, checks its disks, commits, reverses and starts it.
    ///
    /// Without a point, home becomes what the peer is at the end; with one, what the peer was then.
    pub(crate) async fn bring_home(&mut self, vm: &LabVm, point: Option<&SavedPoint>) -> Result<Row, Failure> {
        let system = system_reference(vm.id)?;
        let mut arguments = vec![("ComputerSystem".to_owned(), Argument::Reference(system.clone()))];
        if let Some(point) = point {
            let identifier = self.find_point(vm, point).await?;
            print::line(&format!("{}: InitiateFailback to the recovery point {identifier}", vm.name));
            arguments.push(("RecoveryPointIdentifier".to_owned(), Argument::Text(identifier)));
        } else {
            print::line(&format!("{}: InitiateFailback, while its guest keeps writing at the peer", vm.name));
        }
        let output = self.call_service("InitiateFailback", &arguments).await?;
        let Some(job) = output.reference("Job").filter(|_| output.number("ReturnValue") == Some(STARTED)) else {
            return Err(refused("InitiateFailback", &vm.name, &output));
        };
        let job = job.clone();
        let followed = self.follow(&vm.name, &job, &system).await?;
        let report = followed
            .job
            .text("InstanceID")
            .and_then(|text| Uuid::parse_str(text).ok())
            .and_then(self.report_of)
            .unwrap_or_default();
        // Home is still off here: nobody writes to either side, so both can be read at leisure.
        let verification = verify(vm, point);
        let mut vm_states = followed.vm_states;
        self.settle(vm, &system, &mut vm_states).await?;
        Ok(Row { name: vm.name.clone(), report, job_states: followed.job_states, vm_states, verification })
    }

    /// Commit, reversal and start: the VM is home again, and protected to the peer.
    async fn settle(&mut self, vm: &LabVm, system: &EndpointReference, states: &mut Vec<u64>) -> Outcome {
        for method in ["CommitFailover", "ReverseReplicationRelationship"] {
            let mut arguments = vec![("ComputerSystem".to_owned(), Argument::Reference(system.clone()))];
            if method == "ReverseReplicationRelationship" {
                // Null keeps the settings as they are.
                arguments.push(("ReplicationSettingData".to_owned(), Argument::Null));
            }
            let output = self.call_service(method, &arguments).await?;
            self.complete(method, vm, system, &output, states).await?;
        }
        let (uri, selectors) = (system.resource_uri.clone().unwrap_or_default(), system.selectors.clone());
        let arguments = [("RequestedState".to_owned(), Argument::Text("2".to_owned()))];
        let output = self.client.invoke(&uri, &selectors, "RequestStateChange", &arguments).await?;
        self.complete("RequestStateChange", vm, system, &output, states).await
    }

    /// Waits for the job of a method, if it started one.
    async fn complete(
        &mut self,
        method: &str,
        vm: &LabVm,
        system: &EndpointReference,
        output: &Instance,
        states: &mut Vec<u64>,
    ) -> Outcome {
        match (output.number("ReturnValue"), output.reference("Job")) {
            (Some(0), _) => {
                print::line(&format!("{}: {method} done", vm.name));
                let seen = self.client.get_reference(system).await?;
                follow::push_new(states, seen.number("ReplicationState").unwrap_or_default());
                Ok(())
            }
            (Some(STARTED), Some(job)) => {
                let job = job.clone();
                let followed = self.follow(&format!("{} {method}", vm.name), &job, system).await?;
                for state in followed.vm_states {
                    follow::push_new(states, state);
                }
                Ok(())
            }
            _ => Err(refused(method, &vm.name, output)),
        }
    }

    async fn follow(
        &mut self,
        name: &str,
        job: &EndpointReference,
        system: &EndpointReference,
    ) -> Result<Followed, Failure> {
        let bar = Bar::new(name);
        let followed = follow::follow(&mut self.client, job, Some(system), &bar).await?;
        bar.finish(&followed.job);
        follow::judge(&mut self.client, job, &followed.job).await?;
        Ok(followed)
    }

    /// The InstanceID of a recovery point, found as any client would find it.
    async fn find_point(&mut self, vm: &LabVm, point: &SavedPoint) -> Result<String, Failure> {
        let query = format!(
            "SELECT * FROM Msvm_VirtualSystemSettingData WHERE VirtualSystemIdentifier = '{}' \
             AND VirtualSystemType = 'Microsoft:Hyper-V:Snapshot:Replica:Standard'",
            print::guid(vm.id)
        );
        let wanted = print::guid(point.id);
        let found = self.list(query).await?;
        let names = || found.iter().filter_map(|setting| setting.text("InstanceID"));
        let identifier = names().find(|text| text.to_ascii_uppercase().contains(&wanted));
        identifier.map(str::to_owned).ok_or_else(|| {
            Failure::Failed(format!(
                "the recovery point {wanted} of {} is not among {:?}",
                vm.name,
                names().collect::<Vec<_>>()
            ))
        })
    }

    async fn list(&mut self, wql: String) -> Result<Vec<Instance>, Failure> {
        let (resource_uri, selectors) = parse_resource("*", NAMESPACE).map_err(Failure::Usage)?;
        let enumeration = Enumeration { resource_uri, selectors, wql: Some(wql), ..Enumeration::default() };
        let mut found = Vec::new();
        self.client
            .enumerate(&enumeration, |page| {
                found.extend(page.into_iter().filter_map(|item| match item {
                    Item::Object(instance, _) => Some(instance),
                    Item::Reference(_) => None,
                }));
            })
            .await?;
        Ok(found)
    }

    async fn call_service(&mut self, method: &str, arguments: &[(String, Argument)]) -> Result<Instance, Failure> {
        let service = "Msvm_ReplicationService?CreationClassName=Msvm_ReplicationService";
        let (uri, selectors) = parse_resource(service, NAMESPACE).map_err(Failure::Usage)?;
        Ok(self.client.invoke(&uri, &selectors, method, arguments).await?)
    }
}

/// How the class tells a VM from the host (Msvm_ComputerSystem.Caption).
const VM_CAPTION: &str = "Virtual Machine";

fn system_reference(id: Uuid) -> Result<EndpointReference, Failure> {
    let (uri, none) = parse_resource("Msvm_ComputerSystem", NAMESPACE).map_err(Failure::Usage)?;
    let keys = none.with("CreationClassName", "Msvm_ComputerSystem").with("Name", print::guid(id));
    Ok(EndpointReference::anonymous(uri, keys))
}

fn refused(method: &str, name: &str, output: &Instance) -> Failure {
    let value = output.number("ReturnValue").map_or_else(|| "nothing".to_owned(), print::return_value);
    Failure::Refused(format!("{method} of {name} answered {value}"))
}

/// Compares home with what was promised, without the driver: octet by octet with the peer, or by the saved hash.
fn verify(vm: &LabVm, point: Option<&SavedPoint>) -> Result<String, String> {
    let home = &vm.home;
    let failed = |error: std::io::Error| format!("{}: {error}", home.display());
    let Some(point) = point else {
        return match image::compare(home, &vm.peer).map_err(failed)? {
            Ok(octets) => Ok(format!("home = peer, octet by octet ({})", print::octets(octets))),
            Err(offset) => Err(format!("{} differs from the peer at octet {offset}", home.display())),
        };
    };
    let (found, octets) = image::fingerprint(home).map_err(failed)?;
    if point.hash == found {
        Ok(format!("home = the point's SHA-256 ({})", print::octets(octets)))
    } else {
        Err(format!("{} is not what the recovery point held", home.display()))
    }
}

/// The table at the end.
pub(crate) fn table(rows: &[Row]) -> String {
    let states = |states: &[u64]| states.iter().map(u64::to_string).collect::<Vec<_>>().join(">");
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let report = &row.report;
            vec![
                row.name.clone(),
                report.blocks_compared.to_string(),
                print::octets(report.octets_moved),
                report.rounds.to_string(),
                format!("{} ms", report.downtime_ms),
                states(&row.job_states),
                states(&row.vm_states),
                match &row.verification {
                    Ok(text) => format!("ok: {text}"),
                    Err(text) => format!("FAILED: {text}"),
                },
            ]
        })
        .collect();
    let heading =
        ["VM", "blocks compared", "moved", "rounds", "downtime", "job states", "replication states", "verification"];
    print::table(&heading, &cells)
}
