//! From a step to the octets of its request: named templates, edited by operation, so that a case shows only what
//! is special about it.

use std::time::Duration;

use crate::auth::{AsWhom, Credentials};
use crate::fixture::{Address, Fixtures};
use crate::http::{Request, Target, compose};
use crate::model::{RawPart, Step};
use crate::path::Variables;
use crate::raw::Piece;
pub(crate) use crate::template::TEMPLATES;
use crate::template::{Managers, Template, template};
use crate::text::encode;
use crate::xml::escape;

/// The address of answers on the same connection.
pub(crate) const ANONYMOUS: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous";
const DECLARATIONS: &str = "xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
    xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" \
    xmlns:n=\"http://schemas.xmlsoap.org/ws/2004/09/enumeration\" \
    xmlns:x=\"http://schemas.xmlsoap.org/ws/2004/09/transfer\" \
    xmlns:e=\"http://schemas.xmlsoap.org/ws/2004/08/eventing\" \
    xmlns:w=\"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd\" \
    xmlns:b=\"http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd\" \
    xmlns:p=\"http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd\" \
    xmlns:z=\"urn:conformance:magic\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"";

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
    /// The subscription managers that the case has kept.
    pub managers: &'r Managers,
}

/// The longest text that a repetition in a case may grow to.
const REPEATED_OCTETS_MAX: usize = 8 << 20;

/// Fills in `${name}` (escaped for XML), `${raw:name}` (as it is) and `${text*1000}` (the text a thousand times, as it
/// is, a `#` in it being the number of the repetition).
pub(crate) fn fill(text: &str, variables: &Variables, escaped: bool) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let (name, behind) = after.split_once('}').ok_or_else(|| format!("an open ${{ in {text:?}"))?;
        rest = behind;
        if let Some((repeated, times)) = repetition(name) {
            for at in 1..=times {
                out.push_str(&repeated.replace('#', &at.to_string()));
            }
            continue;
        }
        let (is_raw, name) = name.strip_prefix("raw:").map_or((false, name), |name| (true, name));
        let value = variables.get(name).ok_or_else(|| format!("no variable {name:?}"))?;
        if escaped && !is_raw {
            out.push_str(&escape(value));
        } else {
            out.push_str(value);
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The text and the number of a `${text*1000}`.
fn repetition(name: &str) -> Option<(&str, usize)> {
    let (text, times) = name.rsplit_once('*')?;
    let times: usize = times.parse().ok()?;
    (text.len().saturating_mul(times) <= REPEATED_OCTETS_MAX).then_some((text, times))
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
    let whom = AsWhom::of_word(step.http.auth.as_deref().unwrap_or(""))?;
    if let Some(value) = around.credentials.header(whom) {
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
    Ok(Request { method, path, headers, body, chunk, expect_continue, fresh, whom })
}

/// The pieces of a raw exchange. `fresh` yields identifiers for the requests in them, `prepare` seals where the
/// connection wants it.
pub(crate) fn pieces(
    step: &Step,
    around: &Surroundings<'_>,
    mut fresh: impl FnMut() -> String,
    mut prepare: impl FnMut(&Request) -> Result<Request, String>,
) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    for part in &step.raw_http {
        for _ in 0..part.times.unwrap_or(1) {
            pieces.push(piece(step, part, around, &mut fresh, &mut prepare)?);
        }
    }
    Ok(pieces)
}

fn piece(
    step: &Step,
    part: &RawPart,
    around: &Surroundings<'_>,
    fresh: &mut impl FnMut() -> String,
    prepare: &mut impl FnMut(&Request) -> Result<Request, String>,
) -> Result<Piece, String> {
    let step = Step {
        template: part.template.clone().unwrap_or_else(|| step.template.clone()),
        of: part.of.clone().unwrap_or_else(|| step.of.clone()),
        body: part.body.clone().or_else(|| step.body.clone()),
        ..step.clone()
    };
    let mut next = || -> Result<(String, Vec<u8>), String> {
        let mut variables = around.variables.clone();
        variables.insert("message_id".to_owned(), fresh());
        let request = prepare(&build(&step, &Surroundings { variables: &variables, ..*around })?)?;
        Ok(compose(&request, &around.target.authority()))
    };
    let uses_halves = ["${head}", "${envelope}", "${length}"].iter().any(|mark| part.send.contains(mark));
    let (head, body) = if uses_halves { next()? } else { Default::default() };
    let credentials = around.credentials.header(AsWhom::of_word(step.http.auth.as_deref().unwrap_or(""))?);
    let mut variables = around.variables.clone();
    variables.insert("length".to_owned(), body.len().to_string());
    variables.insert("path".to_owned(), around.target.path.clone());
    variables.insert("host".to_owned(), around.target.authority());
    let authorization = credentials.map_or_else(String::new, |value| format!("Authorization: {value}\r\n"));
    variables.insert("authorization".to_owned(), authorization);
    let mut all = Vec::new();
    let mut rest = part.send.as_str();
    while let Some((at, mark)) =
        ["${request}", "${head}", "${envelope}"].iter().filter_map(|mark| Some((rest.find(mark)?, *mark))).min()
    {
        let (before, behind) = rest.split_at(at);
        all.extend(fill(before, &variables, false)?.into_bytes());
        match mark {
            "${head}" => all.extend(head.as_bytes()),
            "${envelope}" => all.extend(&body),
            _ => {
                let (head, body) = next()?;
                all.extend(head.as_bytes());
                all.extend(body);
            }
        }
        rest = behind.strip_prefix(mark).unwrap_or("");
    }
    all.extend(fill(rest, &variables, false)?.into_bytes());
    all.extend(octets(&part.hex)?);
    let octets: Vec<u8> = all.into_iter().skip(part.skip).take(part.take.unwrap_or(usize::MAX)).collect();
    let (pause, wait) = (Duration::from_millis(part.pause_ms), Duration::from_millis(part.wait_ms));
    Ok(Piece { octets, split: part.split, pause, wait, shut: part.shut, abort: part.abort })
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
    name: String,
    markup: String,
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
    let to = template.manager.as_ref().map_or_else(|| around.target.url(), |manager| manager.address.clone());
    let must = " s:mustUnderstand=\"true\"";
    let plain = |name: &str, attributes: &str, text: &str| -> Result<Block, String> {
        let text = match step.set.get(name) {
            Some(text) => fill(text, around.variables, false)?,
            None => text.to_owned(),
        };
        Ok(Block { name: name.to_owned(), markup: format!("<{name}{attributes}>{}</{name}>", escape(&text)) })
    };
    let reply = match step.set.get("a:ReplyTo") {
        Some(address) => fill(address, around.variables, false)?,
        None => ANONYMOUS.to_owned(),
    };
    let mut blocks = vec![plain("a:To", "", &to)?];
    match (&template.manager, &template.address) {
        (Some(manager), _) => {
            for (name, markup) in &manager.parameters {
                blocks.push(Block { name: name.clone(), markup: markup.clone() });
            }
        }
        (None, address) => {
            let uri = address.as_ref().map_or("", |address| &address.uri);
            blocks.push(plain("w:ResourceURI", must, uri)?);
        }
    }
    let reply = format!("<a:ReplyTo><a:Address{must}>{}</a:Address></a:ReplyTo>", escape(&reply));
    blocks.push(Block { name: "a:ReplyTo".to_owned(), markup: reply });
    blocks.push(plain("a:Action", must, &template.action)?);
    blocks.push(plain("a:MessageID", "", &message_id)?);
    let selectors = selectors(step, around, template.address.as_ref())?;
    if !selectors.is_empty() {
        let list: Vec<String> = selectors
            .iter()
            .map(|(name, value)| format!("<w:Selector Name=\"{}\">{}</w:Selector>", escape(name), escape(value)))
            .collect();
        let list = list.concat();
        let markup = format!("<w:SelectorSet>{list}</w:SelectorSet>");
        blocks.push(Block { name: "w:SelectorSet".to_owned(), markup });
    }
    blocks.retain(|block| !step.omit.contains(&block.name));
    for (name, markup) in &step.replace {
        let markup = fill(markup, around.variables, true)?;
        match blocks.iter_mut().find(|block| block.name == *name) {
            Some(block) => block.markup = markup,
            None => blocks.push(Block { name: String::new(), markup }),
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
        let fixtures = Fixtures::of(address);
        let variables = Variables::from([("message_id".to_owned(), "uuid:1".to_owned())]);
        let target = Target::parse("http://h:1/wsman").unwrap();
        let credentials = Credentials::basic("u", "p");
        let managers = Managers::new();
        let (target, credentials, fixtures) = (&target, &credentials, &fixtures);
        let around = Surroundings { target, credentials, fixtures, variables: &variables, managers: &managers };
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
    fn raw_pieces_are_exact_octets() {
        let fixtures = Fixtures::default();
        let (target, managers) = (Target::parse("http://h:1/wsman").unwrap(), Managers::new());
        let credentials = Credentials::basic("u", "p");
        let (fixtures, target, credentials, variables) = (&fixtures, &target, &credentials, &Variables::new());
        let around = Surroundings { target, credentials, fixtures, variables, managers: &managers };
        let step: Step = toml::from_str(
            "raw_body='<a/>'\nraw_http=[{send='${head}${envelope}', take=4, times=2}, \
             {send=\"${path} ${host} ${length}\\r\\n${authorization}\", hex='00 FF'}, \
             {send='${request}', shut=true}]",
        )
        .unwrap();
        let pieces = pieces(&step, &around, || "uuid:x".to_owned(), |request| Ok(request.clone())).unwrap();
        let octets: Vec<&[u8]> = pieces.iter().map(|piece| piece.octets.as_slice()).collect();
        assert_eq!(&octets[..2], [b"POST", b"POST"]);
        assert_eq!(octets[2], b"/wsman h:1 4\r\nAuthorization: Basic dTpw\r\n\x00\xFF");
        assert!(
            octets[3].starts_with(b"POST /wsman HTTP/1.1\r\nHost: h:1\r\n") && octets[3].ends_with(b"\r\n\r\n<a/>")
        );
        assert!(pieces[3].shut && !pieces[2].shut);
    }

    #[test]
    fn variables_are_filled_in() {
        let variables = Variables::from([("v".to_owned(), "<&".to_owned())]);
        assert_eq!(fill("a${v}b${raw:v}", &variables, true).unwrap(), "a&lt;&amp;b<&");
        assert_eq!(fill("${v}", &variables, false).unwrap(), "<&");
        assert!(fill("${nope}", &variables, true).is_err());
        assert!(fill("${v", &variables, true).is_err());
        assert_eq!(fill("${<#/>*3}-${a*2}", &variables, true).unwrap(), "<1/><2/><3/>-aa");
        assert!(fill("${a*99999999999}", &variables, true).is_err());
        assert_eq!(octets("fF 00").unwrap(), [255, 0]);
        assert!(octets("xy").is_err());
    }
}
