//! What every page shares: its frame, the escaping of texts, and how verdicts and levels look. A page is one file: its
//! style and script stand inside, and its Content-Security-Policy lets nothing else be loaded or run.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::model::Level;
use crate::verdict::Verdict;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The levels, strictest first.
pub(super) const LEVELS: [Level; 3] = [Level::Must, Level::Should, Level::May];

/// What stands where a rule has no case.
pub(super) const NO_CASE: &str = "no-case";

/// What a passing run is not.
pub(super) const DISCLAIMER: &str = "This is what one run of a test suite saw of one endpoint. A passing run is no \
    certificate: it does not prove conformance, and nobody but the standards' owners can attest it.";

/// The titles of the groups of rules.
const GROUPS: &[(&str, &str)] = &[
    ("ENV", "XML and SOAP envelope"),
    ("HTTP", "HTTP binding"),
    ("ADR", "Addressing headers"),
    ("RES", "Resource URIs, selectors, references"),
    ("CTL", "Control headers"),
    ("XFR", "Get, Put, Create, Delete"),
    ("FRG", "Fragments"),
    ("INV", "Methods"),
    ("ENU", "Enumeration"),
    ("EVT", "Eventing"),
    ("FLT", "Faults"),
    ("IDN", "Identify and metadata"),
    ("SEC", "Security"),
    ("CIM", "CIM binding"),
    ("MAP", "CIM in XML"),
    ("MSX", "Microsoft's extensions"),
];

/// Where a group stands among the others.
pub(super) fn group_place(group: &str) -> usize {
    GROUPS.iter().position(|(id, _)| *id == group).unwrap_or(GROUPS.len())
}

/// A group's title; its id when it is not known.
pub(super) fn group_title(group: &str) -> &str {
    GROUPS.iter().find(|(id, _)| *id == group).map_or(group, |(_, title)| title)
}

/// A text for HTML, also inside quotes. What would not be seen, or would change how its surroundings look (control
/// characters, changes of the writing direction), is made visible.
pub(super) fn text(raw: &str) -> String {
    content(raw).replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// A text for the content of an element, never for an attribute: `&` and `<` are all that could end it, and long logs
/// stay a quarter shorter.
pub(super) fn content(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len() + raw.len() / 8);
    for character in raw.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '\n' | '\t' => out.push(character),
            '\0'..='\u{1F}' => out.push(char::from_u32(0x2400 + u32::from(character)).unwrap_or('\u{FFFD}')),
            '\u{7F}'..='\u{9F}'
            | '\u{61C}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{2069}'
            | '\u{FEFF}' => _ = write!(out, "⟨U+{:04X}⟩", u32::from(character)),
            other => out.push(other),
        }
    }
    out
}

/// A verdict's sign, so that no verdict is told by its colour alone.
pub(super) fn sign(word: &str) -> &'static str {
    match word {
        "pass" => "✓",
        "non-strict" => "≈",
        "informational" => "i",
        "unsupported" => "−",
        "not-run" => "○",
        "fail" => "✗",
        "unclean-refusal" => "≠",
        "error" => "!",
        _ => "·",
    }
}

/// How much a verdict says of a rule with several cases: the rule gets the verdict that says most.
pub(super) fn weight(verdict: Verdict) -> u8 {
    match verdict.word() {
        "fail" => 8,
        "unclean-refusal" => 7,
        "error" => 6,
        "non-strict" => 5,
        "pass" => 4,
        "informational" => 3,
        "unsupported" => 2,
        _ => 1,
    }
}

/// The class of a level.
pub(super) fn level_class(level: Level) -> &'static str {
    match level {
        Level::Must => "l-must",
        Level::Should => "l-should",
        Level::May => "l-may",
    }
}

/// The words of all verdicts and of the lack of a case, best first.
pub(super) fn verdict_words() -> impl Iterator<Item = &'static str> {
    Verdict::ALL.iter().map(|verdict| verdict.word()).chain([NO_CASE])
}

/// The class of a row that has something of this level and verdict.
pub(super) fn row_class(level: Level, word: &str) -> String {
    format!("has-{}-{word}", level_class(level))
}

/// A level as a small label.
pub(super) fn level_label(level: Level) -> String {
    format!("<span class=\"level {}\">{}</span>", level_class(level), level.word())
}

/// A switch that shows or hides things by its state, without a script: the style asks whether it is checked.
pub(super) fn switch(id: &str, class: &str, is_on: bool, label: &str) -> String {
    let checked = if is_on { " checked" } else { "" };
    format!(
        "<label class=\"switch {class}\"><input type=\"checkbox\" id=\"{id}\" \
         autocomplete=\"off\"{checked}>{label}</label>"
    )
}

/// A switch for each level and each verdict that is there.
pub(super) fn switches(count: &dyn Fn(Option<Level>, &str) -> usize) -> String {
    let levels: String = LEVELS
        .iter()
        .map(|level| {
            let label = format!("{} <b>{}</b>", level.word(), count(Some(*level), ""));
            switch(&format!("f-{}", level_class(*level)), level_class(*level), true, &label)
        })
        .collect();
    let verdicts: String = verdict_words()
        .filter_map(|word| match count(None, word) {
            0 => None,
            many => {
                let label = format!(
                    "<span class=\"sign\">{}</span> {} <b>{many}</b>",
                    sign(word),
                    word.replace("no-case", "no case")
                );
                Some(switch(&format!("f-{word}"), &format!("v-{word}"), true, &label))
            }
        })
        .collect();
    format!(
        "<fieldset><legend>Level</legend>{levels}</fieldset>\
         <fieldset><legend>Verdict</legend>{verdicts}</fieldset>"
    )
}

/// A bar with a part for each verdict; only decoration, the numbers stand beside it.
pub(super) fn bar(counts: &[(&str, usize)]) -> String {
    let total: usize = counts.iter().map(|(_, many)| many).sum();
    let mut out = format!(
        "<svg class=\"bar\" viewBox=\"0 0 {} 1\" preserveAspectRatio=\"none\" \
         aria-hidden=\"true\" focusable=\"false\">",
        total.max(1)
    );
    let mut at = 0;
    for (word, many) in counts.iter().filter(|(_, many)| *many > 0) {
        _ = write!(out, "<rect class=\"v-{word}\" x=\"{at}\" width=\"{many}\" height=\"1\"/>");
        at += many;
    }
    out.push_str("</svg>");
    out
}

/// The rules of the style that make the switches work.
fn filters() -> String {
    let mut out = String::new();
    for word in verdict_words() {
        _ = writeln!(out, "body:has(#f-{word}:not(:checked)) .item.v-{word}{{display:none}}");
    }
    for level in LEVELS.map(level_class) {
        _ = writeln!(out, "body:has(#f-{level}:not(:checked)) .item.{level}{{display:none}}");
    }
    out.push_str("body:has(.filters) .row{display:none}\n");
    for level in LEVELS {
        for word in verdict_words() {
            let class = level_class(level);
            let row = row_class(level, word);
            _ = writeln!(out, "body:has(#f-{class}:checked):has(#f-{word}:checked) .row.{row}{{display:revert-layer}}");
        }
    }
    // Without `:has`, all of these rules fall away, and everything is shown.
    format!("@layer filter{{@supports selector(:has(a)){{\n{out}}}}}\n")
}

/// A whole page. `body` is markup; `title` is text.
pub(super) fn frame(title: &str, body: &str) -> String {
    let style = format!("@layer base,filter;\n@layer base{{\n{STYLE}}}\n{}", filters());
    let policy = format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; img-src data:; base-uri 'none'; form-action 'none'",
        hash(&style),
        hash(SCRIPT)
    );
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n\
         <script>{SCRIPT}</script>\n</body>\n</html>\n",
        text(title)
    )
}

/// The hash of inline content, as a Content-Security-Policy spells it.
fn hash(content: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, content.as_bytes());
    format!("sha256-{}", STANDARD.encode(digest.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_leave_their_place() {
        assert_eq!(content("<b>\"x\" & 'y'"), "&lt;b>\"x\" &amp; 'y'");
        assert_eq!(text("<script>\"x\" & 'y'"), "&lt;script&gt;&quot;x&quot; &amp; &#39;y&#39;");
        assert_eq!(text("a\0b\rc\u{202E}d\u{7F}\n\te"), "a␀b␍c⟨U+202E⟩d⟨U+007F⟩\n\te");
    }

    #[test]
    fn every_verdict_has_a_sign_of_its_own_and_a_colour() {
        let signs: std::collections::BTreeSet<&str> = verdict_words().map(sign).collect();
        assert_eq!(signs.len(), verdict_words().count());
        for word in verdict_words() {
            assert!(STYLE.contains(&format!(".v-{word}{{")), "{word} has no colour in page.css");
        }
    }

    #[test]
    fn style_and_script_stand_in_the_page_as_they_were_hashed() {
        let page = frame("t", "");
        let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
        let script = page.split("<script>").nth(1).unwrap().split("</script>").next().unwrap();
        assert!(page.contains(&format!("style-src '{}'; script-src '{}'", hash(style), hash(script))));
        // Inline attributes would be refused by the policy.
        assert!(!page.contains(" style=") && !page.contains(" onclick="));
    }
}
