//! Associations as a whole: every one that is listed is found in every other way, too, and enumerations of a world that
//! changes under them lose and repeat nothing that lives throughout.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use uuid::Uuid;

use super::world::{NOW, endpoint, view};
use crate::auth::{Principal, Role};
use crate::cim::{AssociationQuery, CimInstance, ObjectPath, Query, Related, Schema, Value};
use crate::endpoint::{Call, Endpoint, Pace, Step};
use crate::job::JobId;
use crate::provider::{Flow, Key, Permissions, ReadContext, Registry, Sink, Walk};
use crate::replication::{Change, PointId, RecoveryPoint, View, VmId};

struct All(Vec<CimInstance>);

impl Sink for All {
    fn push(&mut self, _: Key, instance: CimInstance) -> std::ops::ControlFlow<()> {
        self.0.push(instance);
        std::ops::ControlFlow::Continue(())
    }
}

fn walked(registry: &Registry, cx: &ReadContext<'_>, walk: &Walk) -> Vec<CimInstance> {
    let mut found = All(Vec::new());
    let mut leg = 0;
    while walk.has_leg(leg) {
        assert_eq!(registry.follow(cx, walk, leg, None, &mut found), Flow::End);
        leg += 1;
    }
    found.0
}

fn question(related: Related, object: &ObjectPath) -> AssociationQuery {
    AssociationQuery {
        related,
        object: object.clone(),
        association_class: None,
        result_class: None,
        is_exact: false,
        role: None,
        result_role: None,
        properties: Vec::new(),
    }
}

/// The two references of an association, by role.
fn ends<'i>(schema: &'i Schema, instance: &'i CimInstance) -> Vec<(&'i str, &'i ObjectPath)> {
    let class = schema.class(instance.class);
    let keys = class.keys.iter().filter_map(|slot| {
        let path = instance.get(*slot).as_reference()?;
        class.property_at(*slot).map(|property| (&*property.name, path))
    });
    keys.collect()
}

#[test]
fn every_association_is_found_from_both_ends_by_its_keys_and_by_queries() {
    let (schema, view, permissions) = (Schema::builtin(), view(), Permissions::unlimited());
    let registry = Registry::new(schema).unwrap();
    let cx = ReadContext::new(&view, &permissions, schema, NOW);
    let mut seen = BTreeMap::new();
    for class in registry.classes().filter(|class| schema.class(*class).is_association) {
        let provider = registry.provider(class).unwrap();
        let mut listed = All(Vec::new());
        assert_eq!(provider.enumerate(&cx, None, None, &mut listed), Flow::End);
        if let Some(count) = provider.count(&cx) {
            assert_eq!(usize::try_from(count).unwrap(), listed.0.len(), "{}", schema.class(class).name);
        }
        for instance in &listed.0 {
            let path = ObjectPath::of(schema.class(class), instance);
            assert_eq!(&registry.get(&cx, &path).unwrap(), instance, "by its own path");
            let ends = ends(schema, instance);
            let [(one, near), (other, far)] = ends.as_slice() else { panic!("{path:?}") };
            for ((role, near), (result_role, far)) in [((one, near), (other, far)), ((other, far), (one, near))] {
                let narrow = |related| AssociationQuery {
                    association_class: (related == Related::Objects).then_some(class),
                    result_class: Some(if related == Related::Objects { far.class } else { class }),
                    role: Some(role.to_uppercase()),
                    result_role: Some(result_role.to_lowercase()),
                    ..question(related, near)
                };
                let references = walked(&registry, &cx, &registry.walk(&cx, &narrow(Related::Associations)).unwrap());
                assert_eq!(references.iter().filter(|found| *found == instance).count(), 1, "{role} of {path:?}");
                let objects = walked(&registry, &cx, &registry.walk(&cx, &narrow(Related::Objects)).unwrap());
                let there = registry.get(&cx, far).unwrap();
                assert_eq!(objects.iter().filter(|found| **found == there).count(), 1, "{result_role} of {path:?}");
                let everything =
                    walked(&registry, &cx, &registry.walk(&cx, &question(Related::Objects, near)).unwrap());
                assert_eq!(everything.iter().filter(|found| **found == there).count(), 1, "one of each: {path:?}");
            }
        }
        seen.insert(&*schema.class(class).name, listed.0.len());
    }
    let served = [
        ("Msvm_AffectedJobElement", 2),
        ("Msvm_ElementSettingData", 4),
        ("Msvm_HostedService", 1),
        ("Msvm_MostCurrentSnapshotInBranch", 2),
        ("Msvm_OwningJobElement", 2),
        ("Msvm_SettingsDefineState", 3),
        ("Msvm_SnapshotOfVirtualSystem", 3),
        ("Msvm_SystemReplicationRelationship", 3),
    ];
    for (class, count) in served {
        assert_eq!(seen.get(class), Some(&count), "{class}");
    }
}

#[test]
fn a_job_whose_machine_is_gone_is_associated_with_the_service_alone() {
    let (schema, mut view, permissions) = (Schema::builtin(), view(), Permissions::unlimited());
    view.apply(Change::VmRemoved(VmId(Uuid::from_u128(0xA2))));
    let registry = Registry::new(schema).unwrap();
    let cx = ReadContext::new(&view, &permissions, schema, NOW);
    let job = registry.job_path(JobId(Uuid::from_u128(1))).unwrap();
    let found = walked(&registry, &cx, &registry.walk(&cx, &question(Related::Objects, &job)).unwrap());
    let classes: Vec<&str> = found.iter().map(|found| &*schema.class(found.class).name).collect();
    assert_eq!(classes, ["Msvm_ReplicationService"]);
}

const WMI: &str = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/";
const ENUMERATION: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/";

fn ask(endpoint: &Endpoint, view: &Arc<View>, ids: &dyn Fn() -> Uuid, action: &str, uri: &str, body: &str) -> String {
    let request = format!(
        r#"<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"
        xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"
        xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
        xmlns:n="http://schemas.xmlsoap.org/ws/2004/09/enumeration"><s:Header><a:To>x</a:To>
        <a:ReplyTo><a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address></a:ReplyTo>
        <a:MessageID>1</a:MessageID><a:Action>{ENUMERATION}{action}</a:Action><w:ResourceURI>{WMI}{uri}</w:ResourceURI>
        </s:Header><s:Body>{body}</s:Body></s:Envelope>"#
    );
    let call = Call {
        now: NOW,
        ids,
        principal: &Principal::for_tests("tester", Role::Viewer),
        permissions: &Permissions::unlimited(),
        view,
        request: request.as_bytes(),
        charset: None,
        soap_action: None,
        targets: false,
        pace: Pace::Until(&|_| false),
    };
    match endpoint.handle(&call) {
        Step::Respond(answer) => String::from_utf8(answer.octets).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The text after each `start`, up to the next `<`.
fn texts(answer: &str, start: &str) -> Vec<String> {
    answer.split(start).skip(1).map(|rest| rest.split('<').next().unwrap_or_default().to_owned()).collect()
}

/// What happens between two Pulls.
#[derive(Clone, Debug)]
enum Churn {
    AddVm(u16),
    RemoveVm(u16),
    AddJob(u16),
    RemoveJob(u16),
    Points(Vec<u16>),
}

fn churn() -> impl Strategy<Value = Churn> {
    let number = 0x100_u16..0x140;
    prop_oneof![
        number.clone().prop_map(Churn::AddVm),
        number.clone().prop_map(Churn::RemoveVm),
        number.clone().prop_map(Churn::AddJob),
        number.clone().prop_map(Churn::RemoveJob),
        prop::collection::vec(number, 0..6).prop_map(Churn::Points),
    ]
}

/// Machine 0xA1, job 1 and 2 and the points 0xB1 and 0xB2 live throughout; everything from 0x100 on comes and goes.
fn apply(view: &mut View, churn: &Churn) {
    let id = |number: u16| Uuid::from_u128(u128::from(number) << 64);
    let web = VmId(Uuid::from_u128(0xA1));
    match churn {
        Churn::AddVm(number) => {
            let mut vm = (**view.vm(web).unwrap()).clone();
            vm.id = VmId(id(*number));
            vm.name = format!("new{number}");
            view.apply(Change::Vm(Arc::new(vm)));
        }
        Churn::RemoveVm(number) => view.apply(Change::VmRemoved(VmId(id(*number)))),
        Churn::AddJob(number) => {
            let mut entry = (**view.job(JobId(Uuid::from_u128(2))).unwrap()).clone();
            entry.job.id = JobId(id(*number));
            view.apply(Change::Job(Arc::new(entry)));
        }
        Churn::RemoveJob(number) => view.apply(Change::JobRemoved(JobId(id(*number)))),
        Churn::Points(numbers) => {
            let lasting: Vec<RecoveryPoint> = [0xB1, 0xB2]
                .into_iter()
                .filter_map(|number| view.point(PointId(Uuid::from_u128(number))).map(|point| (**point).clone()))
                .collect();
            // No machine has the GUID of a point.
            let made = |number: &u16| RecoveryPoint { id: PointId(id(number + 0x1000)), ..lasting[0].clone() };
            let points = numbers.iter().map(made).chain(lasting.iter().cloned()).collect();
            view.apply(Change::Points(web, points));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes and goes between the Pulls, what lives throughout is sent once, and nothing is sent twice.
    #[test]
    fn an_enumeration_of_a_changing_world_loses_and_repeats_nothing(
        churn in prop::collection::vec(prop::collection::vec(churn(), 0..6), 0..40),
        page in 1_u32..4,
        which in 0_usize..5,
    ) {
        const WEB: &str = "00000000-0000-0000-0000-0000000000A1";
        let wql = |text: String| {
            format!("<w:Filter Dialect='http://schemas.microsoft.com/wbem/wsman/1/WQL'>{text}</w:Filter>")
        };
        let settings = "Msvm_VirtualSystemSettingData";
        let of = format!("ASSOCIATORS OF {{Msvm_ComputerSystem.Name='{WEB}'}}");
        let (uri, filter, lasting) = [
            ("CIM_VirtualSystemSettingData", String::new(), &["A1\\HVR", "A1", "B1", "B2"][..]),
            ("CIM_ConcreteJob", String::new(), &["01", "02"]),
            ("*", wql(of.clone()), &["02", "A1\\HVR", "A1", "A1\\HVR\\0", "B1", "B2"]),
            ("*", wql(format!("{of} WHERE ResultClass = {settings}")), &["A1", "B1", "B2"]),
            (
                "*",
                wql(format!("SELECT * FROM {settings} WHERE VirtualSystemIdentifier = '{WEB}'")),
                &["A1", "B1", "B2"],
            ),
        ][which].clone();
        let count = Cell::new(0_u128);
        let ids = || { count.set(count.get() + 1); Uuid::from_u128(count.get()) };
        let endpoint = endpoint();
        let mut world = view();
        let body = format!("<n:Enumerate><w:EnumerationMode>EnumerateEPR</w:EnumerationMode>{filter}</n:Enumerate>");
        let opened = ask(&endpoint, &Arc::new(world.clone()), &ids, "Enumerate", uri, &body);
        let context = texts(&opened, "<n:EnumerationContext>").remove(0);
        let pull = format!(
            "<n:Pull><n:EnumerationContext>{context}</n:EnumerationContext>\
             <n:MaxElements>{page}</n:MaxElements></n:Pull>"
        );
        let mut found: Vec<String> = Vec::new();
        let mut rounds = churn.iter();
        loop {
            for change in rounds.next().into_iter().flatten() {
                apply(&mut world, change);
            }
            let answer = ask(&endpoint, &Arc::new(world.clone()), &ids, "Pull", uri, &pull);
            prop_assert!(answer.contains("PullResponse>"), "{}", answer);
            let items = texts(&answer, "<w:Selector Name=\"InstanceID\">");
            prop_assert!(items.len() <= usize::try_from(page).unwrap());
            found.extend(items);
            if answer.contains("<n:EndOfSequence/>") {
                break;
            }
            // So many objects there never are: a scan that does not end would be one that goes back.
            prop_assert!(found.len() < 1_000);
        }
        let mut once = found.clone();
        once.sort();
        once.dedup();
        prop_assert_eq!(once.len(), found.len(), "{:?}", found);
        for lives in lasting {
            let tail = format!("00000000-0000-0000-0000-0000000000{lives}");
            prop_assert!(found.iter().any(|id| id.ends_with(&tail)), "{} in {:?}", lives, found);
        }
    }
}

#[test]
fn a_release_during_a_pull_holds() {
    let endpoint = endpoint();
    let ids = || Uuid::from_u128(7);
    let world = Arc::new(view());
    let opened = ask(&endpoint, &world, &ids, "Enumerate", "Msvm_ComputerSystem", "<n:Enumerate/>");
    let context = texts(&opened, "<n:EnumerationContext>").remove(0);
    // A Pull has taken the scan and is still writing its page when the Release comes.
    let (id, scan) = endpoint.cursors.scan(&context, "tester", NOW).unwrap();
    let body = format!("<n:Release><n:EnumerationContext>{context}</n:EnumerationContext></n:Release>");
    assert!(ask(&endpoint, &world, &ids, "Release", "Msvm_ComputerSystem", &body).contains("ReleaseResponse"));
    endpoint.cursors.advance(id, scan, NOW);
    let body = format!("<n:Pull><n:EnumerationContext>{context}</n:EnumerationContext></n:Pull>");
    assert!(ask(&endpoint, &world, &ids, "Pull", "Msvm_ComputerSystem", &body).contains("InvalidEnumerationContext"));
}

#[test]
fn reference_keys_are_values_of_their_own() {
    // What a selector names may be to a superclass and lack keys; what an instance holds may not.
    let schema = Schema::builtin();
    let class = schema.class_by_name("Msvm_HostedService").unwrap();
    let (view, permissions) = (view(), Permissions::unlimited());
    let cx = ReadContext::new(&view, &permissions, schema, NOW);
    let registry = Registry::new(schema).unwrap();
    let by = |text: &str| {
        let key = ObjectPath::parse_wmi(text, schema).unwrap();
        let keys = vec![(class.slot("Antecedent").unwrap(), Value::from(key))];
        registry.get(&cx, &ObjectPath { namespace: None, class: class.id, keys }).is_ok()
    };
    assert!(by("CIM_System.Name=\"host\"") && by("Msvm_ComputerSystem.Name=\"HOST\""));
    assert!(!by("Msvm_ComputerSystem.Name=\"00000000-0000-0000-0000-0000000000A1\""));
    assert!(!by("Msvm_ReplicationService.Name=\"HOST\""));
}

#[test]
fn one_end_of_an_association_is_looked_up_by_index() {
    let schema = Schema::builtin();
    let class = schema.class_by_name("Msvm_SnapshotOfVirtualSystem").unwrap();
    let (mut view, permissions) = (view(), Permissions::unlimited());
    let web = VmId(Uuid::from_u128(0xA1));
    let first = (**view.point(PointId(Uuid::from_u128(0xB1))).unwrap()).clone();
    let many = (1..=1_000).map(|number| RecoveryPoint { id: PointId(Uuid::from_u128(number)), ..first.clone() });
    view.apply(Change::Points(web, many.collect()));
    let registry = Registry::new(schema).unwrap();
    let cx = ReadContext::new(&view, &permissions, schema, NOW);
    let provider = registry.provider(class.id).unwrap();
    let looked_at = |number: u128| {
        let id = Uuid::from_u128(number).as_hyphenated().to_string().to_uppercase();
        let text = format!("Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:{id}\"");
        let key = Value::from(ObjectPath::parse_wmi(&text, schema).unwrap());
        let keys = vec![(class.slot("Dependent").unwrap(), key)];
        let found = registry.get(&cx, &ObjectPath { namespace: None, class: class.id, keys: keys.clone() }).is_ok();
        // What the search above is offered: the rest of the pairs is not even looked at.
        let mut offered = All(Vec::new());
        assert_eq!(provider.enumerate(&cx, Some(&Query::equal(class.id, keys)), None, &mut offered), Flow::End);
        (found, offered.0.len())
    };
    assert_eq!(looked_at(999), (true, 1));
    assert_eq!(looked_at(1_001), (false, 0));
}
