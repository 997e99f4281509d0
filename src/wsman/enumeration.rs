//! WS-Enumeration as WS-Management profiles it (DSP0226 section 8).

use super::duration::{DurationError, format_duration, parse_duration};
use super::profile::Profile;
use super::{fault, uri};
use crate::soap::{Envelope, Fault, clipped, is_anonymous, trimmed};
use crate::xml::{Element, Writer, name};
use std::borrow::Cow;
use std::time::Duration;

type Decoded<T> = Result<T, Box<Fault>>;

/// `wsen:Enumerate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enumerate<'d> {
    /// The first items are wanted in the answer. //= ENU-13
    pub optimize: bool,
    /// Items wanted in the answer; 1 when it does not say.
    pub max_elements: u32,
    /// What an item is.
    pub mode: EnumerationMode,
    /// How instances of subclasses appear.
    pub polymorphism: PolymorphismMode,
    /// Which instances are wanted.
    pub filter: Option<Filter<'d>>,
    /// How long the context should live, if it says.
    pub expires: Option<Duration>,
}

/// What an item of an enumeration is. //= ENU-26
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EnumerationMode {
    /// The instance.
    #[default]
    Object,
    /// Its endpoint reference.
    Epr,
    /// Both.
    ObjectAndEpr,
}

/// How instances of subclasses appear in an enumeration (DSP0227).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolymorphismMode {
    /// With all their properties.
    #[default]
    IncludeSubClassProperties,
    /// With the properties of the class asked for.
    ExcludeSubClassProperties,
    /// Not at all.
    None,
}

/// A filter; neither its dialect nor its text has been looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter<'d> {
    /// Dialect URI; that of XPath 1.0 when there was none. //= ENU-09
    pub dialect: Cow<'d, str>,
    /// Text, not trimmed inside.
    pub text: Cow<'d, str>,
    /// The filter element, for dialects that are not text.
    pub element: Element<'d>,
}

/// `wsen:Pull`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull<'d> {
    /// The context, trimmed.
    pub context: Cow<'d, str>,
    /// Items wanted; 1 when it does not say. libvirt loses the others if there are more. //= ENU-16
    pub max_elements: u32,
    /// A hint how long the items may be in all, in characters.
    pub max_characters: Option<u32>,
    /// How long to wait for the first item.
    pub max_time: Option<Duration>,
}

/// `wsen:Release`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release<'d> {
    /// The context, trimmed.
    pub context: Cow<'d, str>,
}

/// `wsen:Renew`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renew<'d> {
    /// The context, trimmed.
    pub context: Cow<'d, str>,
    /// How long it should live from now on; as long as it may when it does not say.
    pub expires: Option<Duration>,
}

/// `wsen:GetStatus`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetStatus<'d> {
    /// The context, trimmed.
    pub context: Cow<'d, str>,
}

impl<'d> Enumerate<'d> {
    /// Read the body. Elements that are not known are left alone: Ruby's client puts a SessionId here.
    pub(super) fn parse(envelope: &Envelope<'d>, profile: &Profile) -> Decoded<Self> {
        let body = payload(envelope, "Enumerate")?;
        let mut enumerate = Self {
            optimize: false,
            max_elements: 1,
            mode: EnumerationMode::default(),
            polymorphism: PolymorphismMode::default(),
            filter: None,
            expires: None,
        };
        for child in body.children() {
            match (child.namespace(), child.local()) {
                (name::WSMAN, "OptimizeEnumeration") => enumerate.optimize = true,
                (name::WSMAN | name::ENUMERATION, "MaxElements") => enumerate.max_elements = positive(child)?,
                (name::WSMAN, "EnumerationMode") => enumerate.mode = mode(&trimmed(child))?,
                (name::CIM_BINDING, "PolymorphismMode") => {
                    enumerate.polymorphism = polymorphism(&trimmed(child), profile)?;
                }
                (name::WSMAN | name::ENUMERATION, "Filter") => set_filter(&mut enumerate.filter, child)?,
                (name::ENUMERATION, "Expires") => enumerate.expires = Some(expires(&trimmed(child))?),
                (name::ENUMERATION, "EndTo") => end_to(child)?,
                _ => {}
            }
        }
        Ok(enumerate)
    }
}

impl<'d> Pull<'d> {
    /// Read the body.
    pub(super) fn parse(envelope: &Envelope<'d>) -> Decoded<Self> {
        let body = payload(envelope, "Pull")?;
        let mut pull = Self { context: context(body)?, max_elements: 1, max_characters: None, max_time: None };
        for child in body.children() {
            match (child.namespace(), child.local()) {
                (name::ENUMERATION, "MaxElements") => pull.max_elements = positive(child)?,
                (name::ENUMERATION, "MaxCharacters") => pull.max_characters = Some(positive(child)?),
                (name::ENUMERATION, "MaxTime") => {
                    let bad = |error| Box::new(fault::schema_validation_error(format!("wsen:MaxTime: {error}")));
                    pull.max_time = Some(parse_duration(&trimmed(child)).map_err(bad)?);
                }
                _ => {}
            }
        }
        Ok(pull)
    }
}

impl<'d> Release<'d> {
    /// Read the body.
    pub(super) fn parse(envelope: &Envelope<'d>) -> Decoded<Self> {
        Ok(Self { context: context(payload(envelope, "Release")?)? })
    }
}

impl<'d> Renew<'d> {
    /// Read the body.
    pub(super) fn parse(envelope: &Envelope<'d>) -> Decoded<Self> {
        let body = payload(envelope, "Renew")?;
        let asked = body.child(name::ENUMERATION, "Expires");
        Ok(Self { context: context(body)?, expires: asked.map(|asked| expires(&trimmed(asked))).transpose()? })
    }
}

impl<'d> GetStatus<'d> {
    /// Read the body.
    pub(super) fn parse(envelope: &Envelope<'d>) -> Decoded<Self> {
        Ok(Self { context: context(payload(envelope, "GetStatus")?)? })
    }
}

fn payload<'d>(envelope: &Envelope<'d>, local: &str) -> Decoded<Element<'d>> {
    envelope.payload().filter(|element| element.is(name::ENUMERATION, local)).ok_or_else(|| {
        Box::new(fault::schema_validation_error(format!("the body does not hold wsen:{local}, which its action says")))
    })
}

/// The enumeration context; some servers' contexts are markup, ours are text. //= ENU-25
fn context(body: Element<'_>) -> Decoded<Cow<'_, str>> {
    let element = body.child(name::ENUMERATION, "EnumerationContext");
    element.map(trimmed).ok_or_else(|| Box::new(fault::schema_validation_error("there is no wsen:EnumerationContext")))
}

/// An `xs:positiveInteger`; one that is too large is the largest.
fn positive(element: Element<'_>) -> Decoded<u32> {
    let text = trimmed(element);
    let digits = text.strip_prefix('+').unwrap_or(&text);
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    match digits.parse().unwrap_or(u32::MAX) {
        number if is_number && number > 0 => Ok(number),
        _ => {
            let what = format!("{} is {:?}, not a positive number", element.local(), clipped(&text));
            Err(Box::new(fault::schema_validation_error(what)))
        }
    }
}

fn mode(text: &str) -> Decoded<EnumerationMode> {
    match text {
        "EnumerateEPR" => Ok(EnumerationMode::Epr),
        "EnumerateObjectAndEPR" => Ok(EnumerationMode::ObjectAndEpr),
        "EnumerateObject" => Ok(EnumerationMode::Object),
        other => {
            let what = format!("the enumeration mode {:?} is not offered", clipped(other));
            Err(Box::new(fault::unsupported_feature_enumeration_mode(what)))
        }
    }
}

//= CIM-07, CIM-08
fn polymorphism(text: &str, profile: &Profile) -> Decoded<PolymorphismMode> {
    match text {
        "IncludeSubClassProperties" => Ok(PolymorphismMode::IncludeSubClassProperties),
        "ExcludeSubClassProperties" => Ok(PolymorphismMode::ExcludeSubClassProperties),
        "None" => Ok(PolymorphismMode::None),
        _ if !profile.refuses_unknown_polymorphism => Ok(PolymorphismMode::default()),
        other => {
            let what = format!("the polymorphism mode {:?} is not offered", clipped(other));
            Err(Box::new(fault::polymorphism_mode_not_supported(what)))
        }
    }
}

/// Both spellings of the filter element are one thing. //= ENU-10
fn set_filter<'d>(slot: &mut Option<Filter<'d>>, element: Element<'d>) -> Decoded<()> {
    if slot.replace(filter(element)?).is_some() {
        return Err(Box::new(fault::cannot_process_filter("there are two filters")));
    }
    Ok(())
}

/// A filter is text or one element, never both. //= ENU-06
pub(super) fn filter(element: Element<'_>) -> Decoded<Filter<'_>> {
    let text = element.text();
    let elements = element.children().take(2).count();
    if elements > 1 || (elements == 1 && !text.trim().is_empty()) {
        return Err(Box::new(fault::cannot_process_filter("the filter is neither text nor one element")));
    }
    let dialect = element.attribute("", "Dialect").or_else(|| element.attribute(name::WSMAN, "Dialect"));
    Ok(Filter { dialect: dialect.unwrap_or(Cow::Borrowed(uri::DIALECT_XPATH)), text, element })
}

/// How long a context should live. Only durations are taken, and only ones that end in the future. //= ENU-05
fn expires(text: &str) -> Decoded<Duration> {
    let shown = clipped(text);
    match parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Err(DurationError::Malformed) if text.starts_with(|c: char| c.is_ascii_digit()) && text.contains('T') => {
            let what = format!("the expiration {shown:?} is a point in time; only durations are taken");
            Err(Box::new(fault::unsupported_expiration_type(what)))
        }
        _ => Err(Box::new(fault::invalid_expiration_time(format!("the expiration {shown:?} is not a time to come")))),
    }
}

/// Nobody is dialled to tell that an enumeration ended. //= ENU-04
fn end_to(element: Element<'_>) -> Decoded<()> {
    let address = element.child(name::ADDRESSING, "Address").map(trimmed).unwrap_or_default();
    if is_anonymous(&address) {
        return Ok(());
    }
    Err(Box::new(fault::unsupported_feature_addressing_mode("wsen:EndTo may only be the anonymous address")))
}

/// Write `wsen:EnumerateResponse`. `context` is absent when the enumeration is over; `items` is ready markup, absent
/// when none was asked for. Items and the end's mark are in the namespace of WS-Management here. //= ENU-14
pub fn write_enumerate_response(
    w: &mut Writer<'_>,
    context: Option<&str>,
    items: Option<&[u8]>,
    end: bool,
    expires: Option<Duration>,
) {
    w.start("n:EnumerateResponse");
    if let Some(expires) = expires {
        w.leaf("n:Expires", &format_duration(expires));
    }
    match context {
        Some(context) => w.leaf("n:EnumerationContext", context),
        None => w.empty("n:EnumerationContext"),
    }
    if let Some(items) = items {
        w.start("w:Items");
        w.raw_octets(items);
        w.end("w:Items");
    }
    if end {
        w.empty("w:EndOfSequence");
    }
    w.end("n:EnumerateResponse");
}

/// Write `wsen:PullResponse`. The context is left out at the end. //= ENU-15
pub fn write_pull_response(w: &mut Writer<'_>, context: Option<&str>, items: &[u8], end: bool) {
    w.start("n:PullResponse");
    if let Some(context) = context.filter(|_| !end) {
        w.leaf("n:EnumerationContext", context);
    }
    w.start("n:Items");
    w.raw_octets(items);
    w.end("n:Items");
    if end {
        w.empty("n:EndOfSequence");
    }
    w.end("n:PullResponse");
}

/// Write `wsen:RenewResponse`: how long the context lives now, and which it is.
pub fn write_renew_response(w: &mut Writer<'_>, expires: Duration, context: &str) {
    w.start("n:RenewResponse");
    w.leaf("n:Expires", &format_duration(expires));
    w.leaf("n:EnumerationContext", context);
    w.end("n:RenewResponse");
}

/// Write `wsen:GetStatusResponse`: how long the context will live.
pub fn write_status_response(w: &mut Writer<'_>, remaining: Duration) {
    w.start("n:GetStatusResponse");
    w.leaf("n:Expires", &format_duration(remaining));
    w.end("n:GetStatusResponse");
}

/// Write the header that tells how many items an enumeration has; nil when that is not known. //= ENU-12
pub fn write_total_estimate(w: &mut Writer<'_>, total: Option<u64>) {
    match total {
        Some(total) => w.leaf("w:TotalItemsCountEstimate", &total.to_string()),
        None => w.raw(
            "<w:TotalItemsCountEstimate xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:nil=\"true\"/>",
        ),
    }
}

/// Write the answer to a Release: its body is empty. //= ENU-23
pub const fn write_release_response(_: &mut Writer<'_>) {}
