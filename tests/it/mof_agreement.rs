//! Tables in the code agree with the schema files, and the schema has what the clients ask for.
#![allow(clippy::panic, reason = "a helper that does not find a class ends the test")]

use failbackd::cim::enumeration::{ErrorType, JobRequest, JobReturnCode, PerceivedSeverity, ReturnCode};
use failbackd::cim::schema::ValueMap;
use failbackd::cim::{CimInstance, CimType, Class, Embedded, Schema, Value};
use failbackd::job::{JobState, JobType};
use failbackd::replication::{EnabledState, ReplicationHealth, ReplicationMode, ReplicationState, ReplicationType};

fn class(name: &str) -> &'static Class {
    Schema::builtin().class_by_name(name).unwrap_or_else(|| panic!("the schema has no class {name}"))
}

/// The value map of `Class.Property`, `Class.Method()` or `Class.Method(Parameter)`.
fn values(place: &str) -> &'static ValueMap {
    let (class_name, feature) = place.split_once('.').expect("Class.Feature");
    let class = class(class_name);
    let missing = || panic!("there is no {place}");
    let Some((method, parameter)) = feature.strip_suffix(')').and_then(|feature| feature.split_once('(')) else {
        return class.property(feature).map_or_else(missing, |(_, property)| &property.values);
    };
    let method = class.method(method).unwrap_or_else(|| panic!("there is no {place}"));
    if parameter.is_empty() {
        return &method.values;
    }
    method.parameter(parameter).map_or_else(missing, |parameter| &parameter.values)
}

/// Words of a name in lower case.
fn words(name: &str) -> Vec<String> {
    name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// The words of the constant stand in the schema's name of the number, in their order.
fn check_constants(place: &str, declared: &[(&str, u32)]) {
    for (constant, number) in declared {
        let entry = values(place).name_of(i64::from(*number));
        let name = entry.unwrap_or_else(|| panic!("{place} has no value {number} ({constant})"));
        let mut in_schema = words(name).into_iter();
        for word in words(constant) {
            assert!(in_schema.any(|known| known == word), "{place}: {constant} = {number} is \"{name}\" in the schema");
        }
    }
}

/// The text of each number is the schema's name of it.
fn check_texts(place: &str, declared: &[(&str, u16)], text: impl Fn(u16) -> Option<&'static str>) {
    for (constant, number) in declared {
        let of_schema = values(place).name_of(i64::from(*number)).unwrap_or_else(|| panic!("{place}: no {number}"));
        let of_code = text(*number).unwrap_or_else(|| panic!("{constant} has no text"));
        assert_eq!(words(of_code), words(of_schema), "{place}: {constant} = {number}");
    }
}

#[test]
fn every_number_of_the_code_has_its_name_in_the_schema() {
    for method in
        ["CommitFailover", "InitiateFailback", "InitiateFailover", "ReverseReplicationRelationship", "RevertFailover"]
    {
        check_constants(&format!("Msvm_ReplicationService.{method}()"), ReturnCode::DECLARED);
    }
    check_constants("Msvm_ComputerSystem.RequestReplicationStateChange()", ReturnCode::DECLARED);
    check_constants("Msvm_ComputerSystem.RequestReplicationStateChangeEx()", ReturnCode::DECLARED);
    check_constants("Msvm_ConcreteJob.RequestStateChange()", JobReturnCode::DECLARED);
    check_constants("Msvm_ConcreteJob.RequestStateChange(RequestedState)", JobRequest::DECLARED);
    check_constants("Msvm_Error.PerceivedSeverity", PerceivedSeverity::DECLARED);
    check_constants("Msvm_Error.ErrorType", ErrorType::DECLARED);
    check_texts("Msvm_ConcreteJob.JobState", JobState::DECLARED, |number| JobState(number).text());
    for place in ["Msvm_ComputerSystem.ReplicationState", "Msvm_ReplicationRelationship.ReplicationState"] {
        check_texts(place, ReplicationState::DECLARED, |number| ReplicationState(number).text());
    }
    for place in ["Msvm_ComputerSystem.ReplicationHealth", "Msvm_ReplicationRelationship.ReplicationHealth"] {
        check_texts(place, ReplicationHealth::DECLARED, |number| ReplicationHealth(number).text());
    }
    for place in ["Msvm_ReplicationRelationship.FailedOverReplicationType", "Msvm_ComputerSystem.LastReplicationType"] {
        check_texts(place, ReplicationType::DECLARED, |number| ReplicationType(number).text());
    }
    check_texts("Msvm_ComputerSystem.ReplicationMode", ReplicationMode::DECLARED, |number| {
        ReplicationMode(number).text()
    });
    check_texts("Msvm_ComputerSystem.EnabledState", EnabledState::DECLARED, |number| EnabledState(number).text());
    check_texts("Msvm_ConcreteJob.JobType", JobType::DECLARED, |number| JobType(number).text());
}

#[test]
fn every_class_that_is_served_has_its_keys() {
    for (name, keys) in [
        ("Msvm_ReplicationService", &["CreationClassName", "Name", "SystemCreationClassName", "SystemName"][..]),
        ("Msvm_ReplicationServiceSettingData", &["InstanceID"]),
        ("Msvm_ReplicationProvider", &["InstanceID", "Name"]),
        ("Msvm_ComputerSystem", &["CreationClassName", "Name"]),
        ("Msvm_ReplicationRelationship", &["InstanceID"]),
        ("Msvm_ReplicationSettingData", &["InstanceID"]),
        ("Msvm_VirtualSystemSettingData", &["InstanceID"]),
        ("Msvm_ConcreteJob", &["InstanceID"]),
        ("Msvm_Error", &[]),
        ("Msvm_SystemReplicationRelationship", &["Antecedent", "Dependent"]),
        ("Msvm_AffectedJobElement", &["AffectedElement", "AffectingElement"]),
        ("Msvm_ReplicationAuthorizationSettingData", &["InstanceID"]),
        ("Msvm_ReplicationStatistics", &["InstanceID"]),
    ] {
        let class = class(name);
        let mut of_schema: Vec<&str> =
            class.keys.iter().filter_map(|slot| class.property_at(*slot)).map(|key| key.name.as_ref()).collect();
        of_schema.sort_unstable();
        let mut expected = keys.to_vec();
        expected.sort_unstable();
        assert_eq!(of_schema, expected, "{name}");
        assert!(!class.is_abstract, "{name} is abstract");
    }
}

#[test]
fn every_association_has_reference_keys_and_nothing_else_has() {
    for class in Schema::builtin().classes() {
        let references = class.keys.iter().filter_map(|slot| class.property_at(*slot));
        let all_references = references.clone().all(|key| key.cim_type == CimType::Reference);
        assert_eq!(class.is_association, all_references && references.count() == 2, "{}", class.name);
    }
}

#[test]
fn classes_are_found_below_their_bases() {
    let schema = Schema::builtin();
    for (base, below) in [
        ("CIM_ConcreteJob", "Msvm_ConcreteJob"),
        ("CIM_Job", "Msvm_ConcreteJob"),
        ("CIM_ManagedElement", "Msvm_ConcreteJob"),
        ("CIM_Service", "Msvm_ReplicationService"),
        ("CIM_System", "Msvm_ComputerSystem"),
        ("CIM_ComputerSystem", "Msvm_ComputerSystem"),
        ("CIM_VirtualSystemSettingData", "Msvm_ReplicationSettingData"),
        ("CIM_VirtualSystemSettingData", "Msvm_VirtualSystemSettingData"),
        ("CIM_SettingData", "Msvm_ReplicationServiceSettingData"),
        ("CIM_Error", "Msvm_Error"),
        ("CIM_Dependency", "Msvm_SystemReplicationRelationship"),
    ] {
        let (base, below) = (class(base).id, class(below).id);
        assert!(schema.subclasses(base).contains(&below) && schema.is_a(below, base));
        assert_eq!(schema.subclasses(base).first(), Some(&base));
        assert!(!schema.is_a(base, below));
    }
    let jobs: Vec<&str> =
        schema.subclasses(class("cim_concretejob").id).iter().map(|id| &*schema.class(*id).name).collect();
    assert_eq!(jobs, ["CIM_ConcreteJob", "Msvm_ConcreteJob"]);
}

#[test]
fn methods_are_declared_as_clients_call_them() {
    let service = class("Msvm_ReplicationService");
    let own = service.methods.iter().filter(|method| method.origin == service.id).count();
    assert_eq!(own + 1, 29, "all methods of the service, RequestStateChange being inherited");
    let failback = service.method("initiatefailback").expect("declared");
    let row = |name: &str| {
        let parameter = failback.parameter(name).expect("declared");
        (parameter.is_in, parameter.is_out, parameter.is_optional, parameter.reference_class.as_deref())
    };
    assert_eq!(row("ComputerSystem"), (true, false, false, Some("CIM_ComputerSystem")));
    assert_eq!(row("ReplicationSettingData"), (true, false, true, None));
    assert_eq!(row("RecoveryPointIdentifier"), (true, false, true, None));
    assert_eq!(row("Job"), (false, true, true, Some("CIM_ConcreteJob")));
    assert_eq!(failback.return_type, CimType::Uint32);
    let embedded = &failback.parameter("ReplicationSettingData").expect("declared").embedded;
    assert_eq!(embedded, &Some(Embedded::Instance("Msvm_ReplicationSettingData".into())));
    let errors =
        class("Msvm_ConcreteJob").method("GetErrorEx").and_then(|method| method.parameter("Errors")).expect("declared");
    assert!(errors.is_array && errors.is_out && !errors.is_in && errors.cim_type == CimType::String);
    let cancel = class("Msvm_ConcreteJob").method("RequestStateChange").expect("declared");
    assert_eq!(
        cancel.parameters.iter().map(|p| (&*p.name, p.is_optional)).collect::<Vec<_>>(),
        [("RequestedState", false), ("TimeoutPeriod", true)]
    );
}

#[test]
fn new_instances_have_the_documented_defaults() {
    for (name, property, expected) in [
        ("Msvm_ReplicationService", "Name", "replicasvc"),
        ("Msvm_ReplicationService", "Caption", "Hyper-V Replica Service"),
        ("Msvm_ReplicationService", "CreationClassName", "Msvm_ReplicationService"),
        ("Msvm_ReplicationService", "Started", "true"),
        ("Msvm_ReplicationService", "StartMode", "NULL"),
        ("Msvm_ReplicationService", "InstanceID", "NULL"),
        ("Msvm_ReplicationService", "EnabledState", "2"),
        ("Msvm_ConcreteJob", "TimeBeforeRemoval", "00000000000500.000000:000"),
        ("Msvm_ConcreteJob", "OperationalStatus", "{2}"),
        ("Msvm_ReplicationSettingData", "AutoResynchronizeIntervalStart", "00000000183000.000000:000"),
        ("Msvm_ReplicationSettingData", "ReplicationInterval", "300"),
        ("Msvm_ReplicationSettingData", "VirtualSystemType", "Microsoft:Hyper-V:Replica"),
        ("Msvm_ReplicationServiceSettingData", "HttpsPort", "443"),
    ] {
        let class = class(name);
        let instance = CimInstance::new(class);
        assert_eq!(instance.get_by_name(class, property).to_string(), expected, "{name}.{property}");
    }
    let instance_id = CimInstance::new(class("Msvm_ReplicationSettingData"));
    assert_eq!(instance_id.get_by_name(class("Msvm_ReplicationSettingData"), "InstanceID"), &Value::Null);
}
