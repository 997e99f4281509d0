//! From a step to the octets of its request: named templates, edited by operation, so that a case shows only what
//! is special about it.

use crate::fixture::{Address, Fixtures};
use crate::http::{Request, Target};
use crate::model::Step;
use crate::path::Variables;
use crate::text::encode;
use crate::xml::escape;

/// The address of answers on the same connection.
pub(crate) const ANONYMOUS: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous";
const TRANSFER: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer";
const ENUMERATION: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration";
const DECLARATIONS: &str = "xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
    xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" \
    xmlns:n=\"http://schemas.xmlsoap.org/ws/2004/09/enumeration\" \
    xmlns:w=\"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd\" \
    xmlns:b=\"http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd\" \
    xmlns:p=\"http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd\" \
    xmlns:z=\"urn:conformance:magic\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"";

/// The credentials of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    /// The user's name; none: no Authorization header.
    pub user: Option<String>,
    /// The password.
    pub password: String,
}

impl Credentials {
    /// The value of the Authorization header: good, wrong, or none at all.
    pub(crate) fn header(&self, kind: &str) -> Result<Option<String>, String> {
        use base64::Engine as _;
        let Some(user) = &self.user else { return Ok(None) };
        let password = match kind {
            "" | "good" => self.password.clone(),
            "wrong" => format!("{}-not", self.password),
            "none" => return Ok(None),
            other => return Err(format!("unknown auth {other:?}")),
        };
        let token = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Ok(Some(format!("Basic {token}")))
    }
}

/// Everything that a request is made of besides its step.
pub(crate) struct Surroundings<'r> {
    /// Where it goes.
    pub target: &'r Target,
    /// Who sends it.
    pub credentials: &'r Credentials,
    /// What the probes found.
    pub fixtures: &'r Fixtures,
    /// `${name}` in the step's texts; `message_id` among them.
    pub variables: &'r Variables,
}

/// Fills in `${name}` (escaped for XML), `${raw:name}` (as it is) and `$$`.
pub(crate) fn fill(text: &str, variables: &Variables, escaped: bool) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let (name, behind) = after.split_once('}').ok_or_else(|| format!("an open ${{ in {text:?}"))?;
        let (is_raw, name) = name.strip_prefix("raw:").map_or((false, name), |name| (true, name));
        let value = variables.get(name).ok_or_else(|| format!("no variable {name:?}"))?;
        if escaped && !is_raw {
            out.push_str(&escape(value));
        } else {
            out.push_str(value);
        }
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

/// Builds the request of a step.
pub(crate) fn build(step: &Step, around: &Surroundings<'_>) -> Result<Request, String> {
    let text = match &step.raw_body {
        Some(raw) => fill(raw, around.variables, true)?,
        None if step.template.is_empty() || step.template == "none" => String::new(),
        None => envelope(step, around)?,
    };
    let mut body = octets(&step.octets_before)?;
    body.extend(encode(&text, &step.encode)?);
    if body.len() < step.pad_octets {
        body.resize(step.pad_octets, b' ');
    }
    let mut headers = Vec::new();
    let content_type = step.http.content_type.as_deref().unwrap_or(match step.encode.as_str() {
        "" | "utf-8" | "utf-8-bom" => "application/soap+xml;charset=UTF-8",
        _ => "application/soap+xml;charset=UTF-16",
    });
    if content_type != "none" {
        headers.push(("Content-Type".to_owned(), content_type.to_owned()));
    }
    if let Some(value) = around.credentials.header(step.http.auth.as_deref().unwrap_or("good"))? {
        headers.push(("Authorization".to_owned(), value));
    }
    for (name, value) in &step.http.headers {
        headers.push((name.clone(), fill(value, around.variables, false)?));
    }
    let path = match &step.http.path {
        Some(path) => path.strip_prefix('+').map_or_else(|| path.clone(), |suffix| around.target.path.clone() + suffix),
        None => around.target.path.clone(),
    };
    let method = step.http.method.clone().unwrap_or_else(|| "POST".to_owned());
    let (chunk, expect_continue, fresh) = (step.http.chunk, step.http.expect_continue, step.http.fresh);
    Ok(Request { method, path, headers, body, chunk, expect_continue, fresh })
}

fn octets(hexadecimal: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = hexadecimal.bytes().filter(|octet| !octet.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).map_err(|error| error.to_string())?;
            u8::from_str_radix(pair, 16).map_err(|error| format!("{pair:?}: {error}"))
        })
        .collect()
}

/// One header block: its prefixed name and its markup.
struct Block {
    name: &'static str,
    markup: String,
}

/// A template: action, address and body before the step's edits.
struct Template {
    action: String,
    address: Option<Address>,
    body: String,
}

fn template(step: &Step, around: &Surroundings<'_>) -> Result<Template, String> {
    let address = around.fixtures.address(&step.of)?;
    let scoped = || address.class_scope();
    let context = || fill("<n:EnumerationContext>${context}</n:EnumerationContext>", around.variables, true);
    let method = step.invoke.as_deref().unwrap_or("ConformanceNoSuchMethod");
    let uri = address.uri.clone();
    Ok(match step.template.as_str() {
        "identify" => return Err("identify has no header".to_owned()),
        "get" => Template { action: format!("{TRANSFER}/Get"), address: Some(address), body: String::new() },
        "enumerate" => Template {
            action: format!("{ENUMERATION}/Enumerate"),
            address: Some(scoped()),
            body: "<n:Enumerate><w:OptimizeEnumeration/><w:MaxElements>20</w:MaxElements></n:Enumerate>".to_owned(),
        },
        "pull" => Template {
            action: format!("{ENUMERATION}/Pull"),
            address: Some(scoped()),
            body: if step.body.is_some() { String::new() } else { format!("<n:Pull>{}</n:Pull>", context()?) },
        },
        "release" => Template {
            action: format!("{ENUMERATION}/Release"),
            address: Some(scoped()),
            body: if step.body.is_some() { String::new() } else { format!("<n:Release>{}</n:Release>", context()?) },
        },
        "invoke" => Template {
            action: format!("{uri}/{method}"),
            address: Some(address),
            body: format!("<q:{method}_INPUT xmlns:q=\"{}\"/>", escape(&uri)),
        },
        other => return Err(format!("unknown template {other:?}")),
    })
}

fn envelope(step: &Step, around: &Surroundings<'_>) -> Result<String, String> {
    let deep = |content: String| {
        let (open, close) = ("<z:d>".repeat(step.nest), "</z:d>".repeat(step.nest));
        format!("{open}{content}{close}")
    };
    if step.template == "identify" {
        let body = "<i:Identify xmlns:i=\"http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd\"/>";
        let body = step.body.as_deref().map_or(Ok(body.to_owned()), |body| fill(body, around.variables, true))?;
        let header = fill(&step.add_header, around.variables, true)?;
        return Ok(format!(
            "<s:Envelope {DECLARATIONS}><s:Header>{header}</s:Header><s:Body>{}</s:Body></s:Envelope>",
            deep(body)
        ));
    }
    let template = template(step, around)?;
    let body = match &step.body {
        Some(body) => fill(body, around.variables, true)?,
        None => template.body.clone(),
    };
    let mut blocks = blocks(step, around, &template)?;
    if step.reverse_header {
        blocks.reverse();
    }
    let header: String = blocks.into_iter().map(|block| block.markup).collect();
    let added = fill(&step.add_header, around.variables, true)?;
    Ok(format!(
        "<s:Envelope {DECLARATIONS}><s:Header>{header}{added}</s:Header><s:Body>{}</s:Body></s:Envelope>",
        deep(body)
    ))
}

fn blocks(step: &Step, around: &Surroundings<'_>, template: &Template) -> Result<Vec<Block>, String> {
    let message_id = around.variables.get("message_id").cloned().unwrap_or_default();
    let uri = template.address.as_ref().map_or_else(String::new, |address| address.uri.clone());
    let must = " s:mustUnderstand=\"true\"";
    let plain = |name: &'static str, attributes: &str, text: &str| -> Result<Block, String> {
        let text = match step.set.get(name) {
            Some(text) => fill(text, around.variables, false)?,
            None => text.to_owned(),
        };
        Ok(Block { name, markup: format!("<{name}{attributes}>{}</{name}>", escape(&text)) })
    };
    let reply = match step.set.get("a:ReplyTo") {
        Some(address) => fill(address, around.variables, false)?,
        None => ANONYMOUS.to_owned(),
    };
    let mut blocks = vec![
        plain("a:To", "", &around.target.url())?,
        plain("w:ResourceURI", must, &uri)?,
        Block {
            name: "a:ReplyTo",
            markup: format!("<a:ReplyTo><a:Address{must}>{}</a:Address></a:ReplyTo>", escape(&reply)),
        },
        plain("a:Action", must, &template.action)?,
        plain("a:MessageID", "", &message_id)?,
    ];
    let selectors = selectors(step, around, template.address.as_ref())?;
    if !selectors.is_empty() {
        let list: Vec<String> = selectors
            .iter()
            .map(|(name, value)| format!("<w:Selector Name=\"{}\">{}</w:Selector>", escape(name), escape(value)))
            .collect();
        let list = list.concat();
        blocks.push(Block { name: "w:SelectorSet", markup: format!("<w:SelectorSet>{list}</w:SelectorSet>") });
    }
    blocks.retain(|block| !step.omit.iter().any(|name| name == block.name));
    for (name, markup) in &step.replace {
        let markup = fill(markup, around.variables, true)?;
        match blocks.iter_mut().find(|block| block.name == name) {
            Some(block) => block.markup = markup,
            None => blocks.push(Block { name: "", markup }),
        }
    }
    Ok(blocks)
}

fn selectors(
    step: &Step,
    around: &Surroundings<'_>,
    address: Option<&Address>,
) -> Result<Vec<(String, String)>, String> {
    let mut selectors = match (&step.selectors, address) {
        (Some(own), _) => own.clone(),
        (None, Some(address)) => address.selectors.clone(),
        (None, None) => Vec::new(),
    };
    selectors.retain(|(name, _)| !step.drop_selectors.contains(name));
    selectors.extend(step.more_selectors.iter().cloned());
    let filled = |text: &str| fill(text, around.variables, false);
    selectors.iter().map(|(name, value)| Ok((filled(name)?, filled(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::Document;

    #[test]
    fn templates_are_edited_by_operation() {
        let address = Address {
            uri: "urn:c/Class".to_owned(),
            selectors: vec![("Name".to_owned(), "a<b".to_owned()), ("Two".to_owned(), "2".to_owned())],
            namespace: None,
        };
        let fixtures = Fixtures { main: Some(address), ..Fixtures::default() };
        let variables = Variables::from([("message_id".to_owned(), "uuid:1".to_owned())]);
        let target = Target::parse("http://h:1/wsman").unwrap();
        let credentials = Credentials { user: Some("u".to_owned()), password: "p".to_owned() };
        let around =
            Surroundings { target: &target, credentials: &credentials, fixtures: &fixtures, variables: &variables };
        let step: Step = toml::from_str(
            "template='get'\nomit=['a:To']\nset={'a:MessageID'='0<1'}\n\
             replace={'a:ReplyTo'='<z:R id=\"${message_id}\"/>'}\n\
             drop_selectors=['Two']\nreverse_header=true\nencode='utf-16be-bom'\nhttp={path='+?x', chunk=3}",
        )
        .unwrap();
        let request = build(&step, &around).unwrap();
        assert_eq!(request.path, "/wsman?x");
        assert_eq!(&request.body[..2], b"\xFE\xFF");
        assert!(request.headers.contains(&("Authorization".to_owned(), "Basic dTpw".to_owned())));
        let (text, _) = crate::text::decode(&request.body, "").unwrap();
        let document = Document::parse(&text).unwrap();
        let check = |path: &str| crate::path::holds(&document, &variables, path).unwrap();
        assert!(check("count(//a:To) = 0 and //a:MessageID = '0<1' and //z:R/@id = $message_id"), "{text}");
        assert!(check("count(//w:Selector) = 1 and //w:Selector = 'a<b'"));
        assert!(check("local-name(/s:Envelope/s:Header/*[1]) = 'SelectorSet'"));
    }

    #[test]
    fn variables_are_filled_in() {
        let variables = Variables::from([("v".to_owned(), "<&".to_owned())]);
        assert_eq!(fill("a${v}b${raw:v}", &variables, true).unwrap(), "a&lt;&amp;b<&");
        assert_eq!(fill("${v}", &variables, false).unwrap(), "<&");
        assert!(fill("${nope}", &variables, true).is_err());
        assert!(fill("${v", &variables, true).is_err());
        assert_eq!(octets("fF 00").unwrap(), [255, 0]);
        assert!(octets("xy").is_err());
    }
}
