//! Whose a subscription is, and what its owner may be told.

use super::lab::{
    ALL, ENUMERATION, EVENTING, JOBS, Lab, PULL_MODE, PUSH_MODE, SINK, WQL, between, envelope, number, pull_body,
};
use crate::auth::{Account, Principal, Role};
use crate::endpoint::{EventLimits, Next, Owner, Pace, Standing, Step, SubscriptionChange};
use crate::provider::{Patterns, Permissions, Rule, Rules};

#[test]
fn nobody_is_told_of_what_is_kept_also_when_limits_come_later() {
    let lab = Lab::new();
    let context = lab.pulled("SELECT * FROM CIM_InstModification", "");
    let id = lab.pushed(PUSH_MODE, "", "");
    let only_web = Rule { number: 1, vms: Some(Patterns::new(["web*"])), ..Rule::default() };
    let limits = Rules::new([only_web]).permissions(&Principal::for_tests("tester", Role::Operator));
    lab.touch_job(1, "of db01");
    lab.touch_vm(0xA2, 3);
    lab.permissions.replace(limits);
    assert_eq!(number(&lab.pull(&context, 9)), 2_150_858_793, "db01 is kept");
    assert!(matches!(lab.next(id), Next::Nothing));
    lab.touch_vm(0xA1, 3);
    lab.touch_job(2, "of web01");
    let page = lab.pull(&context, 9);
    assert!(page.contains("web01") && !page.contains("db01"), "{page}");
    let (message, text) = lab.message(id);
    assert!(text.contains("of web01") && !text.contains("db01"), "{text}");
    lab.delivered(&message);
    let no_jobs = Rule { number: 1, classes: Some(Patterns::new(["Msvm_ComputerSystem"])), ..Rule::default() };
    let limits = Rules::new([no_jobs]).permissions(&Principal::for_tests("tester", Role::Operator));
    lab.permissions.replace(limits);
    lab.touch_job(2, "kept");
    assert!(matches!(lab.next(id), Next::Nothing));
    lab.role.set(Role::Viewer);
    lab.permissions.replace(Permissions::unlimited());
    lab.touch_job(2, "not an operator any more");
    assert!(matches!(lab.next(id), Next::Ended(_)));
}

//= EVT-25
#[test]
fn what_is_dropped_counts_only_as_far_as_its_owner_may_see_it() {
    let lab = Lab::with(EventLimits { changes_max: 4, ..EventLimits::default() });
    let only_web = Rule { number: 1, vms: Some(Patterns::new(["web*"])), ..Rule::default() };
    let limits = Rules::new([only_web]).permissions(&Principal::for_tests("tester", Role::Operator));
    lab.permissions.replace(limits);
    let context = lab.pulled("SELECT * FROM CIM_InstModification WHERE SourceInstance ISA 'Msvm_ConcreteJob'", "");
    let id = lab.pushed(PUSH_MODE, "", "");
    for round in 0..9 {
        lab.touch_job(1, &round.to_string());
    }
    assert_eq!(number(&lab.pull(&context, 9)), 2_150_858_793, "all of it was of db01");
    assert!(matches!(lab.next(id), Next::Nothing));
    lab.touch_job(2, "of web01");
    for round in 0..4 {
        lab.touch_job(1, &round.to_string());
    }
    assert!(lab.pull(&context, 9).contains(">1</w:DroppedEvents>"));
    assert!(lab.message(id).1.contains(">1</w:DroppedEvents>"));
}

#[test]
fn a_subscription_rests_while_nobody_knows_what_its_owner_may_do() {
    let lab = Lab::new();
    let id = lab.pushed(PUSH_MODE, "", "");
    lab.touch_job(1, "x");
    let unknown = |_: &Owner| Standing::Unknown;
    assert!(matches!(lab.endpoint.next_message(id, &unknown, lab.id(), lab.now()), Next::Nothing));
    assert!(lab.endpoint.due_events(lab.now()).sends.is_empty());
    lab.later(1_000);
    assert_eq!(lab.endpoint.due_events(lab.now()).sends, [id]);
    assert_eq!(lab.drain(id).len(), 1);
    lab.touch_job(1, "y");
    let gone = |_: &Owner| Standing::Gone;
    assert!(matches!(lab.endpoint.next_message(id, &gone, lab.id(), lab.now()), Next::Ended(_)));
}

#[test]
fn a_subscription_is_its_owners_and_pushing_needs_an_operator() {
    let lab = Lab::new();
    let answer = lab.subscribe(PULL_MODE, "", JOBS, "");
    let context = between(&answer, "<n:EnumerationContext>", "<").unwrap();
    let identifier = between(&answer, "eventing\">", "<").unwrap();
    let header = format!("<e:Identifier>{identifier}</e:Identifier>");
    let unsubscribe = envelope(ALL, &format!("{EVENTING}Unsubscribe"), &header, "<e:Unsubscribe/>");
    assert_eq!(number(&lab.answer("other", &unsubscribe)), 2_150_858_789);
    let pull = envelope(ALL, &format!("{ENUMERATION}Pull"), "", &pull_body(&context, 1));
    assert_eq!(number(&lab.answer("other", &pull)), 2_150_858_779);
    lab.role.set(Role::Viewer);
    assert_eq!(number(&lab.subscribe(PUSH_MODE, "", JOBS, "")), 5);
    assert!(lab.subscribe(PULL_MODE, "", JOBS, "").contains("SubscribeResponse"));
    lab.role.set(Role::Administrator);
    assert!(lab.answer("other", &unsubscribe).contains("UnsubscribeResponse"));
}

#[test]
fn credentials_are_in_no_debug_text() {
    let lab = Lab::new();
    let header = "<t:IssuedTokens xmlns:t=\"http://schemas.xmlsoap.org/ws/2005/02/trust\" s:mustUnderstand=\"true\">\
                  <t:RequestSecurityTokenResponse><t:RequestedSecurityToken><o:UsernameToken xmlns:o=\"urn:o\">\
                  <o:Username>sinkuser</o:Username><o:Password>hunter2</o:Password></o:UsernameToken>\
                  </t:RequestedSecurityToken></t:RequestSecurityTokenResponse></t:IssuedTokens>";
    let body = format!(
        "<e:Subscribe><e:Delivery Mode=\"{PUSH_MODE}\">{SINK}<w:Auth \
         Profile=\"http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/http/basic\"/></e:Delivery><w:Filter \
         Dialect=\"{WQL}\">{JOBS}</w:Filter></e:Subscribe>"
    );
    let step = lab.step("tester", &envelope(ALL, &format!("{EVENTING}Subscribe"), header, &body), Pace::Brief);
    let debug = format!("{step:?}");
    let Step::Durable(durable) = step else { panic!("{debug}") };
    let SubscriptionChange::Open(record, ..) = &durable.change else { panic!("{debug}") };
    assert_eq!(record.credentials.as_ref().map(|it| it.password.reveal()), Some("hunter2"));
    assert!(debug.contains("sinkuser") && !debug.contains("hunter2"), "{debug}");
    assert!(!String::from_utf8_lossy(&durable.done.octets).contains("hunter2"));
    lab.endpoint.apply_subscription(&durable.change, lab.now()).unwrap();
    assert!(!format!("{:?}", lab.endpoint).contains("hunter2"));
}

#[test]
fn whoever_has_the_name_later_has_nothing_of_whom_it_belonged_to() {
    let lab = Lab::new();
    lab.account.set(Some(Account::for_tests(1)));
    let answer = lab.subscribe(PULL_MODE, "", JOBS, "");
    let context = between(&answer, "<n:EnumerationContext>", "<").unwrap();
    let identifier = between(&answer, "eventing\">", "<").unwrap();
    let header = format!("<e:Identifier>{identifier}</e:Identifier>");
    lab.touch_job(1, "x");
    lab.account.set(Some(Account::for_tests(2)));
    assert_eq!(number(&lab.pull(&context, 9)), 2_150_858_779);
    assert_eq!(number(&lab.ask(&format!("{EVENTING}Renew"), &header, "<e:Renew/>")), 2_150_858_788);
    assert_eq!(number(&lab.ask(&format!("{EVENTING}Unsubscribe"), &header, "<e:Unsubscribe/>")), 2_150_858_789);
    lab.account.set(Some(Account::for_tests(1)));
    assert!(lab.pull(&context, 9).contains("PullResponse"));
}

#[test]
fn what_an_earlier_server_stored_knows_no_account() {
    let owner: Owner = serde_json::from_str("{\"name\":\"otto\",\"local\":false}").unwrap();
    let of = |account: Option<u128>| {
        let mut otto = Principal::for_tests("otto", Role::Viewer);
        otto.set_account_for_tests(account.map(Account::for_tests));
        otto
    };
    assert!(owner.is(&of(None)) && owner.is(&of(Some(1))));
    assert!(!owner.is(&Principal::for_tests("vera", Role::Viewer)));
    let owner = Owner { account: Some(Account::for_tests(1)), ..owner };
    assert!(owner.is(&of(Some(1))) && !owner.is(&of(None)) && !owner.is(&of(Some(2))));
}

#[test]
fn subscriptions_end_whose_owners_have_gone_or_may_less_than_they_need() {
    let lab = Lab::new();
    let pushed = lab.pushed(PUSH_MODE, "", "");
    lab.pulled(JOBS, "");
    let ended = |standing: Standing| {
        let ended = lab.endpoint.end_where_owners_changed(&|_| standing.clone());
        ended.iter().map(|ended| ended.record.id).collect::<Vec<_>>()
    };
    assert!(ended(Standing::Unknown).is_empty());
    assert!(ended(Standing::May(Role::Operator, Permissions::unlimited())).is_empty());
    assert_eq!(ended(Standing::May(Role::Viewer, Permissions::unlimited())), [pushed]);
    assert_eq!(ended(Standing::Gone).len(), 1);
    assert_eq!(lab.endpoint.subscriptions(), 0);
}
