//! Selectors, parameters and references as they are written on a command line.

use crate::client::Argument;
use crate::soap::{EndpointReference, Selector, SelectorSet, SelectorValue};

/// Where the WMI classes of a namespace live.
const WMI: &str = "http://schemas.microsoft.com/wbem/wsman/1/wmi/";

/// A class name, `Class?key=value&key=value`, or a full resource URI with or without such a query.
///
/// Gives the resource URI and the selectors of the query.
pub(crate) fn parse_resource(text: &str, namespace: &str) -> Result<(String, SelectorSet), String> {
    let (resource, query) = text.split_once('?').unwrap_or((text, ""));
    if resource.is_empty() {
        return Err(format!("'{text}' names no class"));
    }
    let uri = if resource.contains("://") {
        resource.to_owned()
    } else {
        format!("{WMI}{}/{resource}", namespace.trim_matches('/').replace('\\', "/"))
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let selectors = pairs.map(|pair| parse_selector(pair, namespace, true)).collect::<Result<_, _>>()?;
    Ok((uri, SelectorSet(selectors)))
}

/// `key=value`; the value may be a reference (`epr:Class?key=value`).
pub(crate) fn parse_selector(text: &str, namespace: &str, escaped: bool) -> Result<Selector, String> {
    let (name, value) = split(text)?;
    let value = if escaped { unescape(value)? } else { value.to_owned() };
    let value = match value.strip_prefix("epr:") {
        Some(reference) => SelectorValue::Reference(Box::new(parse_reference(reference, namespace)?)),
        None => SelectorValue::Text(value),
    };
    Ok(Selector { name: name.to_owned(), value })
}

/// `Class?key=value&key=value`, as it follows `epr:`.
fn parse_reference(text: &str, namespace: &str) -> Result<EndpointReference, String> {
    let (resource_uri, selectors) = parse_resource(text, namespace)?;
    if selectors.0.is_empty() {
        return Err(format!("the reference 'epr:{text}' has no key; write epr:Class?key=value"));
    }
    Ok(EndpointReference::anonymous(resource_uri, selectors))
}

/// `Name=value`, `Name=epr:Class?key=value`, `Name=@FILE` (the file's text) or `Name=$null`.
pub(crate) fn parse_argument(text: &str, namespace: &str) -> Result<(String, Argument), String> {
    let (name, value) = split(text)?;
    let argument = if value == "$null" {
        Argument::Null
    } else if let Some(reference) = value.strip_prefix("epr:") {
        Argument::Reference(parse_reference(reference, namespace)?)
    } else if let Some(file) = value.strip_prefix('@') {
        let content = std::fs::read_to_string(file).map_err(|error| format!("{name}: {file}: {error}"))?;
        Argument::Text(content)
    } else {
        Argument::Text(value.to_owned())
    };
    Ok((name.to_owned(), argument))
}

fn split(text: &str) -> Result<(&str, &str), String> {
    match text.split_once('=') {
        Some((name, value)) if is_name(name) => Ok((name, value)),
        Some((name, _)) => Err(format!("'{name}' is no name of a selector or parameter")),
        None => Err(format!("'{text}' is not of the form key=value")),
    }
}

/// CIM's identifiers (DSP0004, Annex A): such a name can stand in XML as it is.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text.chars().all(|character| character.is_alphanumeric() || character == '_')
}

/// `%26` stands for `&` in a reference's keys, and so on for every octet.
fn unescape(text: &str) -> Result<String, String> {
    let wrong = || format!("'{text}' holds a % that is not followed by two hexadecimal digits (write %25 for %)");
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(wrong()) };
        octets.push(u8::try_from((high << 4) | low).map_err(|_| wrong())?);
    }
    String::from_utf8(octets).map_err(|_| wrong())
}

/// The opposite of what a reference's keys undergo when they are read.
pub(crate) fn escape(text: &str) -> String {
    text.replace('%', "%25").replace('&', "%26")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMESPACE: &str = "root/virtualization/v2";

    #[test]
    fn a_class_becomes_a_resource_uri_and_a_uri_stays() {
        let (uri, selectors) = parse_resource("Msvm_X?Name=a%26b&K=1", NAMESPACE).unwrap();
        assert_eq!(uri, "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/Msvm_X");
        let texts: Vec<_> =
            selectors.0.iter().map(|selector| (selector.name.as_str(), selector.value.clone())).collect();
        let text = |value: &str| SelectorValue::Text(value.to_owned());
        assert_eq!(texts, [("Name", text("a&b")), ("K", text("1"))]);
        assert_eq!(parse_resource("http://x/y", NAMESPACE).unwrap().0, "http://x/y");
        assert!(parse_resource("?a=b", NAMESPACE).is_err());
    }

    #[test]
    fn parameters_are_text_references_files_and_null() {
        let (name, argument) = parse_argument("ComputerSystem=epr:Msvm_ComputerSystem?Name=G", NAMESPACE).unwrap();
        assert_eq!(name, "ComputerSystem");
        let Argument::Reference(reference) = argument else { panic!("no reference") };
        assert_eq!(super::super::print::reference_text(&reference), "epr:Msvm_ComputerSystem?Name=G");
        assert_eq!(parse_argument("A=$null", NAMESPACE).unwrap().1, Argument::Null);
        assert_eq!(parse_argument("A=b=c%", NAMESPACE).unwrap().1, Argument::Text("b=c%".to_owned()));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("settings.xml");
        std::fs::write(&file, "<INSTANCE/>").unwrap();
        let argument = parse_argument(&format!("S=@{}", file.display()), NAMESPACE).unwrap().1;
        assert_eq!(argument, Argument::Text("<INSTANCE/>".to_owned()));
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        for (text, told) in [
            ("x", "key=value"),
            ("=x", "no name"),
            ("1a=x", "no name"),
            ("a b=x", "no name"),
            ("A=epr:Msvm_X", "has no key"),
            ("A=epr:Msvm_X?K=%zz", "two hexadecimal digits"),
            ("A=@/does/not/exist", "/does/not/exist"),
        ] {
            let problem = parse_argument(text, NAMESPACE).unwrap_err();
            assert!(problem.contains(told), "{text}: {problem}");
        }
    }
}
