//! Tests of the query language: meaning, errors, round trip, and a second evaluator that shares no code.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::parse::{Literal, Name, Term, Test};
use super::{Condition, Limits, Operator, Parsed, Query};
use crate::cim::{CimDatetime, CimInstance, ObjectPath, Schema, Value};

fn job() -> CimInstance {
    let class = Schema::builtin().class_by_name("Msvm_ConcreteJob").unwrap();
    let mut job = CimInstance::new(class);
    job.set_by_name(class, "InstanceID", "1FD5EE88-510C-4350-822D-B9DDA9F9532D");
    job.set_by_name(class, "JobState", 7_u16);
    job.set_by_name(class, "PercentComplete", 100_u16);
    job.set_by_name(class, "Cancellable", true);
    job.set_by_name(class, "RunDay", -3_i8);
    job.set_by_name(class, "Owner", "it's a \\ Straße");
    job.set_by_name(class, "StartTime", CimDatetime::parse("20261123180000.000000+000").unwrap());
    job
}

fn selects(text: &str) -> bool {
    let schema = Schema::builtin();
    Query::parse(text).unwrap().resolve(schema).unwrap().matches(schema, &job())
}

fn error(text: &str) -> String {
    match Query::parse(text).and_then(|query| query.resolve(Schema::builtin())) {
        Ok(_) => "none".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn conditions_that_hold() {
    for condition in [
        "InstanceID = '1fd5ee88-510c-4350-822d-b9dda9f9532d'",
        "instanceid=\"1FD5EE88-510C-4350-822D-B9DDA9F9532D\"",
        "JobState = 7",
        "JobState = '7'",
        "7 = JobState",
        "jobstate = 0x7",
        "8 > JobState AND 6 < JobState",
        "JobState <> 70000 AND JobState < 70000",
        "JobState > 6.5 AND JobState < 7.5 AND JobState = 7.0",
        "RunDay = -3",
        "Cancellable = TRUE",
        "Cancellable = 'true' and Cancellable = 1",
        "Cancellable != false",
        "Owner = 'it''s a \\\\ STRASSE' OR Owner = 'It\\'s a \\ straße'",
        "Owner = \"it's a \\\\ Straße\"",
        "Owner LIKE '%[a-c] [\\\\]%' ",
        "not Owner like 'x%' And Owner Not Like 'y%'",
        "ErrorDescription IS NULL and ErrorDescription = NULL",
        "JobState IS NOT NULL and null <> JobState",
        "StartTime = '20261123190000.000000+060'",
        "StartTime >= '2026-11-23T18:00:00Z' AND StartTime < '20261123180000.000001+000'",
        "TimeBeforeRemoval = '00000000000500.000000:000'",
        "OperationalStatus = 2 AND StatusDescriptions LIKE 'o_'",
        "__CLASS = 'msvm_concretejob' AND __class LIKE 'Msvm%'",
        "__this ISA 'CIM_Job' AND NOT __THIS ISA 'CIM_Error'",
        "__SUPERCLASS = 'CIM_ConcreteJob' AND __Dynasty = 'CIM_ManagedElement'",
        "(JobState = 1 OR JobState = 7) AND NOT (JobState = 1)",
        "JobState = 7 OR ErrorCode = 1",
        "NOT NOT JobState = 7;",
    ] {
        assert!(selects(&format!("SELECT * FROM Msvm_ConcreteJob WHERE {condition}")), "{condition}");
    }
    assert!(selects("select JobState, __PATH from cim_concretejob"));
    assert!(selects("SELECT * FROM CIM_ManagedElement ; "));
    assert!(!selects("SELECT * FROM Msvm_ReplicationService"));
}

#[test]
fn what_is_unknown_is_not_selected() {
    for condition in [
        "ErrorCode = 0",
        "ErrorCode <> 0",
        "NOT ErrorCode = 0",
        "ErrorDescription LIKE '%'",
        "ErrorCode = 0 AND JobState = 7",
        "NOT (ErrorCode = 0 AND JobState = 7)",
        "JobState = 8",
        "Owner < 'a'",
        "StartTime < '00000000000500.000000:000'",
    ] {
        assert!(!selects(&format!("SELECT * FROM Msvm_ConcreteJob WHERE {condition}")), "{condition}");
    }
}

#[test]
fn references_are_compared_as_objects() {
    let schema = Schema::builtin();
    let class = schema.class_by_name("Msvm_SystemReplicationRelationship").unwrap();
    let text = r#"Msvm_ComputerSystem.CreationClassName="Msvm_ComputerSystem",Name="G""#;
    let mut link = CimInstance::new(class);
    link.set_by_name(class, "Antecedent", ObjectPath::parse_wmi(text, schema).unwrap());
    let query = concat!(
        "SELECT * FROM CIM_Dependency WHERE Antecedent = ",
        r"'\\\\.\\root/virtualization/v2:Msvm_ComputerSystem.Name=\'g\',CreationClassName=\'Msvm_ComputerSystem\'",
        r"' AND Antecedent ISA 'CIM_System'",
    );
    let query = Query::parse(query).unwrap().resolve(schema).unwrap();
    assert!(query.matches(schema, &link));
}

#[test]
fn errors_name_the_place_and_what_was_expected() {
    let long = format!("SELECT * FROM A WHERE {}x=1", "(".repeat(33));
    for (text, expected) in [
        ("", "character 1 of the query: expected SELECT, found the end"),
        ("SELECT FROM A", "character 13 of the query: expected \",\" or FROM, found \"A\""),
        ("SELECT * FROM", "character 14 of the query: expected the name of a class after FROM, found the end"),
        ("SELECT * FROM A WHERE 1 = NOT", "character 27 of the query: expected a property or a literal, found \"NOT\""),
        ("SELECT * FROM Nope", "character 15 of the query: there is no class \"Nope\""),
        ("SELECT x FROM Msvm_Error", "character 8 of the query: Msvm_Error has no property \"x\""),
        (
            "SELECT * FROM Msvm_ConcreteJob WHERE Nope = 1",
            "character 38 of the query: Msvm_ConcreteJob has no property \"Nope\"",
        ),
        (
            "SELECT * FROM Msvm_ConcreteJob WHERE JobState = x",
            "character 49 of the query: expected a literal, found \"x\": text stands in quotes",
        ),
        (
            "SELECT * FROM Msvm_ConcreteJob WHERE JobState = 'seven'",
            "character 38 of the query: JobState cannot be compared: \"seven\" is not a number",
        ),
        (
            "SELECT * FROM Msvm_ConcreteJob WHERE StartTime > 'today'",
            "character 38 of the query: StartTime cannot be compared: \"today\" is not a datetime: \
             yyyymmddHHMMSS.mmmmmm+utc or ddddddddHHMMSS.mmmmmm:000",
        ),
        (
            "SELECT * FROM Msvm_ConcreteJob WHERE JobState LIKE '7'",
            "character 38 of the query: LIKE asks strings, and JobState is a uint16",
        ),
        (
            "SELECT * FROM Msvm_ConcreteJob WHERE JobState > NULL",
            "character 38 of the query: NULL has no order: > is not possible",
        ),
        (
            "SELECT * FROM Msvm_ConcreteJob WHERE __this ISA 'Nope'",
            "character 49 of the query: there is no class \"Nope\"",
        ),
        (
            "SELECT * FROM Msvm_ConcreteJob WHERE JobState = 7 7",
            "character 51 of the query: expected AND, OR or the end, found 7",
        ),
        (
            "SELECT * FROM Msvm_ConcreteJob WHERE (JobState = 7",
            "character 51 of the query: expected AND, OR or \")\", found the end",
        ),
        ("SELECT * FROM A WHERE x = 'a", "character 27 of the query: the string has no end"),
        ("SELECT * FROM A WHERE x = 1x", "character 27 of the query: \"1x\" is not a number"),
        ("SELECT * FROM A WHERE é = 1", "character 23 of the query: 'é' has no meaning here"),
        ("SELECT * FROM A WHERE 1 = 1", "character 28 of the query: one side of a comparison must be a property"),
        ("ASSOCIATORS OF {X}", "character 1 of the query: expected SELECT, found \"ASSOCIATORS\""),
        (&long, "character 55 of the query: nested deeper than 32"),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn errors_of_queries_for_events_do_too() {
    for (text, expected) in [
        (
            "SELECT * FROM Msvm_ConcreteJob WITHIN 1",
            "character 15 of the query: WITHIN belongs to queries for events, and Msvm_ConcreteJob is none",
        ),
        (
            "SELECT * FROM __InstanceCreationEvent WITHIN soon",
            "character 46 of the query: expected a number of seconds after WITHIN, found \"soon\"",
        ),
        (
            "SELECT * FROM CIM_InstModification WHERE SourceInstance.JobState = 7",
            "character 42 of the query: add SourceInstance ISA \"Class\": without it, \"JobState\" could be anything",
        ),
        (
            "SELECT * FROM CIM_InstModification WHERE SourceInstance ISA 'Msvm_ConcreteJob' AND SourceInstance.No = 7",
            "character 84 of the query: no class that ISA names has the property \"No\"",
        ),
        (
            "SELECT * FROM Msvm_ConcreteJob WHERE JobState.x = 7",
            "character 38 of the query: JobState holds no instance, so that it has no property \"x\"",
        ),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn every_limit_holds_at_its_bound_and_not_past_it() {
    let limits = Limits { octets_max: 200, depth_max: 2, terms_max: 3, properties_max: 2 };
    let parse = |text: &str| Query::parse_within(text, &limits).is_ok();
    let padded = |octets: usize| format!("{:octets$}", "SELECT * FROM A");
    assert!(parse(&padded(200)) && !parse(&padded(201)));
    assert!(parse("SELECT * FROM A WHERE ((x=1))") && !parse("SELECT * FROM A WHERE (((x=1)))"));
    assert!(parse("SELECT * FROM A WHERE NOT NOT x=1") && !parse("SELECT * FROM A WHERE NOT NOT NOT x=1"));
    assert!(
        parse("SELECT * FROM A WHERE x=1 OR x=1 OR x=1") && !parse("SELECT * FROM A WHERE x=1 OR x=1 OR x=1 OR x=1")
    );
    assert!(parse("SELECT a,b FROM A") && !parse("SELECT a,b,c FROM A"));
}

#[test]
fn projection_and_key_lookup() {
    let schema = Schema::builtin();
    let class = schema.class_by_name("Msvm_ConcreteJob").unwrap();
    let id = class.slot("InstanceID").unwrap();
    let state = class.slot("JobState").unwrap();
    let resolve = |text: &str| Query::parse(text).unwrap().resolve(schema).unwrap();
    let query =
        resolve("SELECT JobState, InstanceID, jobstate FROM Msvm_ConcreteJob WHERE JobState = '7' AND InstanceID='a'");
    assert_eq!(query.projection(), Some(&[state, id][..]));
    assert_eq!(query.equality(id).and_then(Value::as_str), Some("a"));
    assert_eq!(query.equality(state), Some(&Value::Uint16(7)));
    assert_eq!(
        resolve("SELECT * FROM Msvm_ConcreteJob WHERE 'a' = InstanceID").equality(id).and_then(Value::as_str),
        Some("a")
    );
    for text in ["WHERE InstanceID='a' OR JobState=7", "WHERE NOT InstanceID='a'", "WHERE InstanceID LIKE 'a'", ""] {
        assert_eq!(resolve(&format!("SELECT * FROM Msvm_ConcreteJob {text}")).equality(id), None, "{text}");
    }
}

// ------------------------------------------------------------------------------------------------------------------

fn name() -> impl Strategy<Value = Name> {
    prop::sample::select(vec!["JobState", "Owner", "Cancellable", "RunDay", "ErrorCode"])
        .prop_map(|name| Name { text: name.to_owned(), position: 0 })
}

fn operator() -> impl Strategy<Value = Operator> {
    prop::sample::select(vec![
        Operator::Equal,
        Operator::NotEqual,
        Operator::Less,
        Operator::LessOrEqual,
        Operator::Greater,
        Operator::GreaterOrEqual,
    ])
}

fn any_term() -> impl Strategy<Value = Term> {
    let literal = prop_oneof![
        "\\PC{0,12}".prop_map(Literal::Text),
        any::<i64>().prop_map(|number| Literal::Integer(number.into())),
        (-1e6_f64..1e6).prop_map(Literal::Real),
        any::<bool>().prop_map(Literal::Boolean),
        Just(Literal::Null),
    ];
    let test = prop_oneof![
        (operator(), literal).prop_map(|(operator, literal)| Test::Compare(operator, literal)),
        "\\PC{0,12}".prop_map(Test::Like),
        "[A-Z][a-z_]{0,5}".prop_map(|text| Test::Isa(Name { text, position: 0 })),
        Just(Test::IsNull),
    ];
    (name(), test).prop_map(|(property, test)| Term { property, test })
}

/// A term that the second evaluator understands.
fn plain_term() -> impl Strategy<Value = Term> {
    let compare = (prop::sample::select(vec!["JobState", "RunDay", "ErrorCode"]), operator(), -3_i128..4);
    prop_oneof![
        compare.prop_map(|(name, operator, number)| Term {
            property: Name { text: name.to_owned(), position: 0 },
            test: Test::Compare(operator, Literal::Integer(number)),
        }),
        (operator(), "[ab]{0,2}").prop_map(|(operator, text)| Term {
            property: Name { text: "Owner".to_owned(), position: 0 },
            test: Test::Compare(operator, Literal::Text(text)),
        }),
        name().prop_map(|property| Term { property, test: Test::IsNull }),
    ]
}

fn condition(term: impl Strategy<Value = Term> + 'static) -> impl Strategy<Value = Condition<Term>> {
    term.prop_map(Condition::Term).prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Condition::All),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Condition::Any),
            inner.prop_map(|inner| Condition::Not(Box::new(inner))),
        ]
    })
}

/// What an instance of the second evaluator has: numbers by name, and the owner.
struct Facts {
    numbers: [(&'static str, Option<i128>); 3],
    owner: Option<String>,
}

fn oracle(condition: &Condition<Term>, facts: &Facts) -> Option<bool> {
    match condition {
        Condition::Not(inner) => oracle(inner, facts).map(|truth| !truth),
        Condition::All(parts) => {
            let truths: Vec<_> = parts.iter().map(|part| oracle(part, facts)).collect();
            if truths.contains(&Some(false)) { Some(false) } else { (!truths.contains(&None)).then_some(true) }
        }
        Condition::Any(parts) => {
            let truths: Vec<_> = parts.iter().map(|part| oracle(part, facts)).collect();
            if truths.contains(&Some(true)) { Some(true) } else { (!truths.contains(&None)).then_some(false) }
        }
        Condition::Term(Term { property, test }) => {
            let number = facts.numbers.iter().find(|(name, _)| *name == property.text).and_then(|(_, number)| *number);
            let ordering = match test {
                Test::IsNull if property.text == "Owner" => return Some(facts.owner.is_none()),
                Test::IsNull if property.text == "Cancellable" => return Some(true),
                Test::IsNull => return Some(number.is_none()),
                Test::Compare(_, Literal::Integer(literal)) => number?.cmp(literal),
                Test::Compare(_, Literal::Text(literal)) => facts.owner.as_ref()?.cmp(literal),
                _ => return None,
            };
            let Test::Compare(operator, _) = test else { return None };
            Some(match operator {
                Operator::Equal => ordering.is_eq(),
                Operator::NotEqual => !ordering.is_eq(),
                Operator::Less => ordering.is_lt(),
                Operator::LessOrEqual => !ordering.is_gt(),
                Operator::Greater => ordering.is_gt(),
                Operator::GreaterOrEqual => !ordering.is_lt(),
            })
        }
    }
}

proptest! {
    #[test]
    fn printing_and_parsing_gives_the_same_query(
        condition in prop::option::of(condition(any_term())),
        names in prop::option::of(prop::collection::vec(name(), 1..4)),
        within in prop::option::of(0.0_f64..1e9),
    ) {
        let class = Name { text: "Msvm_ConcreteJob".to_owned(), position: 0 };
        let query = Query { state: Parsed { projection: names, class, within, condition } };
        let text = query.to_string();
        let again = Query::parse(&text);
        prop_assert_eq!(again.as_ref(), Ok(&query), "{}", text);
    }

    #[test]
    fn agrees_with_the_second_evaluator(
        condition in condition(plain_term()),
        state in prop::option::of(0_u16..4),
        day in prop::option::of(-3_i8..4),
        code in prop::option::of(0_u16..4),
        owner in prop::option::of("[ab]{0,2}"),
    ) {
        let schema = Schema::builtin();
        let class = schema.class_by_name("Msvm_ConcreteJob").unwrap();
        let mut instance = CimInstance::empty(class);
        instance.set_by_name(class, "JobState", state);
        instance.set_by_name(class, "RunDay", day);
        instance.set_by_name(class, "ErrorCode", code);
        instance.set_by_name(class, "Owner", owner.clone());
        let numbers = [
            ("JobState", state.map(Into::into)),
            ("RunDay", day.map(Into::into)),
            ("ErrorCode", code.map(Into::into)),
        ];
        let expected = oracle(&condition, &Facts { numbers, owner });
        let class = Name { text: "Msvm_ConcreteJob".to_owned(), position: 0 };
        let text = Query { state: Parsed { projection: None, class, within: None, condition: Some(condition) } }.to_string();
        let query = Query::parse(&text).unwrap().resolve(schema).unwrap();
        prop_assert_eq!(query.matches(schema, &instance), expected == Some(true), "{}", text);
    }

    #[test]
    fn no_text_panics(text in "(SELECT \\* FROM CIM_Job WHERE )?[A-Za-z0-9 ()'\"\\\\=<>!.,;%_é-]{0,40}") {
        let _ = Query::parse(&text).and_then(|query| query.resolve(Schema::builtin()));
    }
}
