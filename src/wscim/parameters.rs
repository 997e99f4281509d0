//! Method parameters: `X_INPUT` to typed values, typed values to `X_OUTPUT` (DSP0230 10, and what real clients send).

use std::borrow::Cow;

use crate::cim::{
    Argument, CimError, CimType, ClassId, Embedded, EmbeddedErrorKind, EmbeddedInstance, Method, MethodInput,
    MethodResult, NamespaceId, ObjectPath, Parameter, Schema, Value, parse_embedded,
};
use crate::soap::EndpointReference;
use crate::xml::{Document, Element, Limits, Writer, name};

use super::epr::path_from_epr;
use super::instance::write_value;
use super::representation::decode_fragment;
use super::resource::Family;

/// Reads the in-parameters of `method` from its `_INPUT` element. The namespace of the element and its parameters is
/// not checked and names are found whatever their case, since clients differ.
///
/// An unknown or repeated parameter, a missing required one and content of another type are errors.
//= INV-04, INV-08, INV-10, INV-11
pub fn decode_input(method: &Method, input: Option<Element<'_>>, schema: &Schema) -> Result<MethodInput, CimError> {
    let mut decoded = MethodInput::empty(method);
    let place = Place { namespace: schema.class(method.origin).namespace, schema };
    let mut arrays: Vec<Option<Vec<Value>>> = vec![None; method.parameters.len()];
    if let Some(input) = input {
        for child in input.children() {
            let (index, parameter) = find_parameter(method, child.local())?;
            if parameter.is_array {
                let element = decode_parameter(parameter, child, place)?;
                if let Argument::Value(value) = element
                    && let Some(values) = arrays.get_mut(index)
                {
                    values.get_or_insert_default().push(value);
                }
                continue;
            }
            if given_before(input, child) {
                return Err(CimError::parameter_name(format!(
                    "the parameter {} is given more than once",
                    parameter.name
                )));
            }
            decoded.set(index, decode_parameter(parameter, child, place)?);
        }
    }
    for (index, array) in arrays.into_iter().enumerate() {
        if let Some(values) = array {
            decoded.set(index, Argument::Value(Value::Array(values)));
        }
    }
    check_required(method, &decoded)?;
    Ok(decoded)
}

/// Where the class names of a method's parameters are looked up.
#[derive(Clone, Copy)]
struct Place<'s> {
    namespace: NamespaceId,
    schema: &'s Schema,
}

impl Place<'_> {
    fn find(self, class: &str) -> Option<ClassId> {
        self.schema.find_in(self.namespace, class)
    }
}

/// Whether an earlier sibling has the name of `child`: a second null parameter is a repetition too.
fn given_before(input: Element<'_>, child: Element<'_>) -> bool {
    input
        .children()
        .take_while(|sibling| *sibling != child)
        .any(|sibling| sibling.local().eq_ignore_ascii_case(child.local()))
}

fn find_parameter<'m>(method: &'m Method, name: &str) -> Result<(usize, &'m Parameter), CimError> {
    let found = method.parameters.iter().enumerate().find(|(_, p)| p.name.eq_ignore_ascii_case(name));
    match found {
        Some((index, parameter)) if parameter.is_in => Ok((index, parameter)),
        Some((_, parameter)) => {
            Err(CimError::parameter_name(format!("{} is an out-parameter of {}", parameter.name, method.name)))
        }
        None => {
            let known: Vec<&str> = method.parameters.iter().filter(|p| p.is_in).map(|p| &*p.name).collect();
            Err(CimError::parameter_name(format!(
                "{} has no parameter '{name}'; it takes {}",
                method.name,
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            )))
        }
    }
}

fn check_required(method: &Method, input: &MethodInput) -> Result<(), CimError> {
    for (index, parameter) in method.parameters.iter().enumerate() {
        if parameter.is_in && !parameter.is_optional && *input.get(index) == Argument::Null {
            return Err(CimError::parameter_missing(format!("{} needs the parameter {}", method.name, parameter.name)));
        }
    }
    Ok(())
}

fn decode_parameter(parameter: &Parameter, element: Element<'_>, place: Place<'_>) -> Result<Argument, CimError> {
    //= MAP-11
    if element.is_nil() {
        if !element.is_blank() {
            let what = format!("the parameter {} is nil and has a value at once", parameter.name);
            return Err(CimError::parameter_type(what));
        }
        return Ok(Argument::Null);
    }
    if parameter.cim_type == CimType::Reference {
        return decode_reference(parameter, element, place).map(Argument::Value);
    }
    if let Some(Embedded::Instance(class)) = &parameter.embedded {
        return decode_embedded(parameter, class, element, place);
    }
    if !element.is_leaf() && parameter.cim_type != CimType::Datetime {
        return Err(CimError::parameter_type(format!(
            "the parameter {} holds elements where a {} belongs",
            parameter.name, parameter.cim_type
        )));
    }
    // A datetime comes bare or wrapped in cim:Datetime or cim:Interval.
    let text = match element.children().next() {
        Some(wrapped) => wrapped.text(),
        None => element.text(),
    };
    let text = if parameter.cim_type == CimType::String { text } else { Cow::Owned(text.trim().to_owned()) };
    Value::parse(parameter.cim_type, &text).map(Argument::Value).map_err(|error| {
        CimError::parameter_type(format!("the parameter {} holds '{}': {error}", parameter.name, excerpt(&text)))
    })
}

/// A reference in every form that clients send: EPR children, a wrapped EPR, an embedded instance with the keys, a WMI
/// object path, an escaped EPR, or bare text.
fn decode_reference(parameter: &Parameter, element: Element<'_>, place: Place<'_>) -> Result<Value, CimError> {
    let wrong =
        |error: String| CimError::parameter_type(format!("the reference parameter {}: {error}", parameter.name));
    match element.children().next() {
        Some(first) if first.namespace() == name::ADDRESSING => {
            let epr = EndpointReference::parse(element).map_err(wrong)?;
            reference_value(&epr, place.schema).map_err(wrong)
        }
        Some(_) => instance_reference(parameter, element, place).map_err(wrong),
        None => text_reference(element.text().trim(), place).map_err(wrong),
    }
}

fn reference_value(epr: &EndpointReference, schema: &Schema) -> Result<Value, String> {
    let path = path_from_epr(epr, schema).map_err(|fault| fault.reason.into_owned())?;
    Ok(Value::Reference(Box::new(path)))
}

/// The keys of an instance written where a reference belongs (`xsi:type="p1:Class_Type"`, as omicli sends it).
fn instance_reference(parameter: &Parameter, element: Element<'_>, place: Place<'_>) -> Result<Value, String> {
    let typed = element.attributes().find(|a| a.local == "type").map(|a| a.value);
    let named =
        typed.as_deref().map(|t| t.rsplit(':').next().unwrap_or(t)).map(|t| t.strip_suffix("_Type").unwrap_or(t));
    let class = named
        .or(parameter.reference_class.as_deref())
        .and_then(|class| place.find(class))
        .ok_or_else(|| format!("it holds an instance of an unknown class '{}'", named.unwrap_or_default()))?;
    let declared = place.schema.class(class);
    let mut keys: Vec<(u16, Value)> = Vec::new();
    for child in element.children() {
        if let Some((slot, property)) = declared.property(child.local())
            && property.is_key
            && !child.is_nil()
        {
            let value = Value::parse(property.cim_type, child.text().trim())
                .map_err(|error| format!("{}: {error}", property.name))?;
            if keys.iter().any(|(known, _)| *known == slot) {
                return Err(format!("the key {} of the instance in it is given more than once", property.name));
            }
            keys.push((slot, value));
        }
    }
    if keys.is_empty() {
        return Err(format!("it holds an instance of {} without any of its keys", declared.name));
    }
    Ok(Value::Reference(Box::new(ObjectPath { namespace: None, class, keys })))
}

fn text_reference(text: &str, place: Place<'_>) -> Result<Value, String> {
    if text.is_empty() {
        return Err("it is empty; give an endpoint reference, a WMI object path, or a name".to_owned());
    }
    if text.starts_with('<') {
        // An escaped EPR: its elements without a common root, so one is put around them, with the usual prefixes.
        let wrapped = format!(
            "<r xmlns:a=\"{}\" xmlns:wsa=\"{0}\" xmlns:w=\"{}\" xmlns:wsman=\"{1}\">{text}</r>",
            name::ADDRESSING,
            name::WSMAN
        );
        let document = Document::parse(&wrapped, &Limits::default())
            .map_err(|error| format!("its text looks like an endpoint reference but is not XML: {error}"))?;
        return reference_value(&EndpointReference::parse(document.root())?, place.schema);
    }
    if text.contains('=') && text.contains(['.', ':', '@']) {
        let path = ObjectPath::parse_wmi_in(text, place.namespace, place.schema).map_err(|error| error.to_string())?;
        return Ok(Value::Reference(Box::new(path)));
    }
    Ok(Value::String(text.to_owned().into()))
}

fn decode_embedded(
    parameter: &Parameter,
    class: &str,
    element: Element<'_>,
    place: Place<'_>,
) -> Result<Argument, CimError> {
    let Some(expected) = place.find(class) else {
        return Err(CimError::parameter_type(format!("the class {class} of {} is not served", parameter.name)));
    };
    // Some clients forget to escape the CIM-XML; what they mean is plain.
    let text = match element.children().next() {
        Some(child) if child.local() == "INSTANCE" || child.local() == "CIM" => Cow::Borrowed(child.markup()),
        Some(child) => return decode_inline(parameter, expected, element, child, place),
        None => element.text(),
    };
    if text.trim().is_empty() {
        return Ok(Argument::Null);
    }
    embedded_text(parameter, expected, &text, place.schema)
}

/// An embedded instance as elements (DSP0230 7.2.5.2): properties in the parameter's own element, whose `xsi:type` may
/// name the class, or in an element of the class inside it, as OpenPegasus writes it.
//= INV-11, MAP-13
fn decode_inline(
    parameter: &Parameter,
    expected: ClassId,
    element: Element<'_>,
    first: Element<'_>,
    place: Place<'_>,
) -> Result<Argument, CimError> {
    let schema = place.schema;
    let below = |name: &str| place.find(name).filter(|class| schema.is_a(*class, expected));
    let typed = element.attributes().find(|it| it.local == "type").map(|it| it.value);
    let typed = typed.as_deref().map(|name| name.rsplit(':').next().unwrap_or(name));
    let (holder, class) = match typed.map(|name| name.strip_suffix("_Type").unwrap_or(name)) {
        Some(named) => (element, below(named)),
        None => match below(first.local()) {
            Some(class) => (first, Some(class)),
            None => (element, Some(expected)),
        },
    };
    let Some(class) = class else {
        return Err(CimError::parameter_type(format!(
            "the parameter {} holds an instance of {}, not one of {}",
            parameter.name,
            excerpt(typed.unwrap_or_default()),
            schema.class(expected).name
        )));
    };
    let slots: Vec<u16> = schema.class(class).slots().map(|(slot, _)| slot).collect();
    let read = decode_fragment(holder, class, &slots, schema).map_err(|fault| {
        CimError::parameter_type(format!(
            "the embedded instance in {} cannot be read: {}",
            parameter.name, fault.reason
        ))
    })?;
    Ok(Argument::Embedded(EmbeddedInstance { class, set: read.values }))
}

fn embedded_text(parameter: &Parameter, expected: ClassId, text: &str, schema: &Schema) -> Result<Argument, CimError> {
    match parse_embedded(text, expected, schema, &Limits::default()) {
        Ok(instance) => Ok(Argument::Embedded(instance)),
        Err(error) if matches!(error.kind, EmbeddedErrorKind::TypeMismatch { .. }) => {
            Ok(Argument::EmbeddedTypeMismatch(format!("{}: {error}", parameter.name)))
        }
        Err(error) => Err(CimError::parameter_type(format!(
            "the embedded instance in {} cannot be read: {error}",
            parameter.name
        ))),
    }
}

/// At most 64 characters of a value, for a message.
fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(64).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Writes `<p:X_OUTPUT>` in the namespace of the request's resource URI: out-parameters in the order of the
/// declaration, then `ReturnValue`.
//= INV-03, INV-05, INV-06
pub fn write_output(
    w: &mut Writer<'_>,
    method: &Method,
    spelling: &str,
    class_uri: &str,
    family: Family,
    schema: &Schema,
    result: &MethodResult,
) {
    let element = format!("p:{spelling}_OUTPUT");
    w.open(&element);
    w.attribute("xmlns:p", class_uri);
    w.attribute("xmlns:xsi", name::XSI);
    w.attribute("xmlns:cim", name::CIM_COMMON);
    w.raw(">");
    for parameter in method.parameters.iter().filter(|parameter| parameter.is_out) {
        match result.out.iter().find(|(name, _)| *name == &*parameter.name) {
            Some((_, value)) => write_value(w, &parameter.name, value, family, schema),
            // An absent job is left out rather than sent as nil: clients look for its selector.
            None if parameter.cim_type == CimType::Reference => {}
            None => write_value(w, &parameter.name, &Value::Null, family, schema),
        }
    }
    w.leaf("p:ReturnValue", &result.return_value.to_string());
    w.end(&element);
}
