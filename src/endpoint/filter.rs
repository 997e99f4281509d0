//! What an Enumerate is about: the class of its resource URI, or what its filter says, in any of the dialects.

use std::sync::Arc;

use crate::cim::{AssociationQuery, AssociatorsOf, CimType, Class, ClassId, Query, Resolved, Value};
use crate::soap::{Fault, Selector, SelectorSet, SelectorValue, clipped};
use crate::wscim::{self, CLASS_SELECTOR, Resource, Target, XPath};
use crate::wsman::{Filter, fault, uri};
use crate::xml::name;

use super::exchange::Exchange;
use super::scan::Condition;

/// What is enumerated.
pub(super) enum Scope {
    /// The instances of a class and of those below it.
    Class(ClassId, Option<Condition>),
    /// What is associated with an object.
    Associations(AssociationQuery),
}

impl Scope {
    /// The class that access rules and the log are told of.
    pub(super) fn class(&self) -> ClassId {
        match self {
            Self::Class(class, _) => *class,
            Self::Associations(query) => query.object.class,
        }
    }
}

/// The dialects that are served, as a refusal lists them.
const DIALECTS: [&str; 4] = [uri::DIALECT_WQL, uri::DIALECT_ASSOCIATION, uri::DIALECT_SELECTOR, uri::DIALECT_XPATH];

/// Characters of one value in a selector filter: an open enumeration holds it.
const VALUE_CHARACTERS_MAX: usize = 2_048;

impl Exchange<'_> {
    /// Finds out what an Enumerate is about.
    //= ENU-07, ENU-09, ENU-11, ENU-29
    pub(super) fn scope(&self, resource: Resource, filter: Option<&Filter<'_>>) -> Result<Scope, Fault> {
        let Some(filter) = filter else {
            return match resource.target {
                Target::Class(class) => Ok(Scope::Class(class, None)),
                Target::All => Err(fault::unsupported_feature_filtering_required(
                    "the resource URI names all classes, so that a filter has to say which; \
                     add a WQL or an association filter, or use the URI of a class",
                )),
            };
        };
        let dialect = filter.dialect.trim();
        let is = |known: &str| known.eq_ignore_ascii_case(dialect);
        if is(uri::DIALECT_WQL) || is(uri::DIALECT_WQL_DMTF) {
            if AssociatorsOf::begins(&filter.text) {
                return self.associators(resource, &filter.text);
            }
            return self.query(resource, &filter.text);
        }
        if is(uri::DIALECT_ASSOCIATION) {
            let query = wscim::association_query(filter.element, resource.namespace, self.endpoint.schema)?;
            return self.associations(resource.target, query);
        }
        if is(uri::DIALECT_SELECTOR) {
            let class = one_class(resource.target, "a selector filter")?;
            let query = selected(self.endpoint.schema.class(class), filter)?;
            return Ok(Scope::Class(class, Some(Condition::Query(Arc::new(query)))));
        }
        if is(uri::DIALECT_XPATH) {
            let class = one_class(resource.target, "an XPath filter")?;
            let namespace = |prefix: &str| filter.element.resolve_prefix(prefix).map(str::to_owned);
            let expression = XPath::parse(&filter.text, &namespace)
                .map_err(|error| fault::cannot_process_filter(error.to_string()))?;
            return Ok(Scope::Class(class, Some(Condition::XPath(Arc::new(expression)))));
        }
        Err(fault::unknown_filter_dialect(dialect, &DIALECTS))
    }

    //= ENU-08, CIM-02
    fn query(&self, resource: Resource, text: &str) -> Result<Scope, Fault> {
        let schema = self.endpoint.schema;
        let parsed = Query::parse(text).map_err(|error| fault::cannot_process_filter(error.to_string()))?;
        let query = parsed
            .resolve_in(resource.namespace, schema)
            .map_err(|error| fault::cannot_process_filter(error.to_string()))?;
        let class = query.class();
        if let Target::Class(named) = resource.target
            && !schema.is_a(class, named)
        {
            return Err(elsewhere(schema.class(class), schema.class(named)));
        }
        Ok(Scope::Class(class, Some(Condition::Query(Arc::new(query)))))
    }

    fn associators(&self, resource: Resource, text: &str) -> Result<Scope, Fault> {
        let parsed =
            AssociatorsOf::parse(text).and_then(|parsed| parsed.resolve_in(resource.namespace, self.endpoint.schema));
        self.associations(resource.target, parsed.map_err(|error| fault::cannot_process_filter(error.to_string()))?)
    }

    /// A question about associations. A resource URI that names a class narrows the results to it.
    fn associations(&self, target: Target, mut query: AssociationQuery) -> Result<Scope, Fault> {
        let schema = self.endpoint.schema;
        if let Target::Class(named) = target {
            let wanted = query.result_class.unwrap_or(named);
            if schema.is_a(named, wanted) {
                query.result_class = Some(named);
            } else if !schema.is_a(wanted, named) {
                return Err(elsewhere(schema.class(wanted), schema.class(named)));
            }
        }
        Ok(Scope::Associations(query))
    }
}

fn elsewhere(class: &Class, named: &Class) -> Fault {
    fault::cannot_process_filter(format!("the query is about {}, the resource URI about {}", class.name, named.name))
}

fn one_class(target: Target, what: &str) -> Result<ClassId, Fault> {
    match target {
        Target::Class(class) => Ok(class),
        Target::All => Err(fault::cannot_process_filter(format!("{what} needs the resource URI of one class"))),
    }
}

/// The query that a selector filter is: properties with values, all of them demanded.
//= ENU-34
fn selected(class: &Class, filter: &Filter<'_>) -> Result<Query<Resolved>, Fault> {
    let Some(set) = filter.element.child(name::WSMAN, "SelectorSet") else {
        return Err(fault::cannot_process_filter("the selector filter holds no wsman:SelectorSet"));
    };
    let set = SelectorSet::parse(set).map_err(|error| fault::cannot_process_filter(error.to_string()))?;
    let selectors = set.0.iter().filter(|selector| !selector.name.eq_ignore_ascii_case(CLASS_SELECTOR));
    let values = selectors.map(|selector| demanded(class, selector)).collect::<Result<_, _>>()?;
    Ok(Query::equal(class.id, values))
}

/// The slot and the value that one selector demands.
fn demanded(class: &Class, selector: &Selector) -> Result<(u16, Value), Fault> {
    let refused =
        |why: String| fault::cannot_process_filter(format!("the selector {}: {why}", clipped(&selector.name)));
    let Some((slot, property)) = class.property(&selector.name) else {
        return Err(refused(format!("{} has no such property", class.name)));
    };
    if property.is_array {
        return Err(refused("it is an array, which a selector filter cannot ask".to_owned()));
    }
    if matches!(property.cim_type, CimType::Datetime | CimType::Reference) {
        return Err(refused(format!("it is a {}, which a selector filter cannot ask", property.cim_type)));
    }
    let SelectorValue::Text(text) = &selector.value else {
        return Err(refused("its value is a reference".to_owned()));
    };
    if text.contains(['"', '\'']) {
        return Err(refused("its value holds a quote".to_owned()));
    }
    if text.chars().nth(VALUE_CHARACTERS_MAX).is_some() {
        return Err(refused(format!("its value is longer than {VALUE_CHARACTERS_MAX} characters")));
    }
    let value = Value::parse(property.cim_type, text).map_err(|error| refused(error.to_string()))?;
    Ok((slot, value))
}
