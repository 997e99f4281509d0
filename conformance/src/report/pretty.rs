//! XML laid out for reading, as markup of a page. It reads as much as it can of whatever came, well-formed or not, and
//! changes nothing but the white space between tags.

use super::html::content;

/// A start tag longer than this gets a line for each attribute.
const TAG_CHARS_MAX: usize = 90;
/// Deeper elements are not indented further.
const INDENT_MAX: usize = 24;

/// A piece of the source.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece<'t> {
    Start(&'t str),
    End(&'t str),
    /// An empty element, a comment, a processing instruction.
    Whole(&'t str),
    Text(&'t str),
}

/// A source laid out.
pub(super) struct Layout {
    /// The lines as markup.
    pub(super) markup: String,
    /// Whether the lines put together again are the source, so that it need not be shown beside them.
    pub(super) is_whole: bool,
    /// The lines as text.
    text: String,
}

/// The lines, or none when this does not look like XML.
pub(super) fn pretty(sent: &str) -> Option<Layout> {
    let source = sent.trim_start_matches('\u{FEFF}').trim();
    if !source.starts_with('<') || source.starts_with("<!DOCTYPE") || source.contains("<!ENTITY") {
        return None;
    }
    let pieces = pieces(source);
    let mut out = Layout {
        markup: String::with_capacity(source.len() * 3 / 2),
        is_whole: false,
        text: String::with_capacity(source.len() * 3 / 2),
    };
    let mut depth = 0_usize;
    let mut is_inline = false;
    for (at, piece) in pieces.iter().enumerate() {
        let is_inside = is_inline;
        is_inline = false;
        match *piece {
            Piece::Start(tag) => {
                out.line(depth);
                out.tag(tag, depth);
                depth += 1;
                is_inline = true;
            }
            Piece::Whole(tag) => {
                out.line(depth);
                out.tag(tag, depth);
            }
            Piece::End(tag) => {
                depth = depth.saturating_sub(1);
                if !is_inside {
                    out.line(depth);
                }
                out.tag(tag, depth);
            }
            Piece::Text(words) => {
                let is_lone = is_inside && matches!(pieces.get(at + 1), None | Some(Piece::End(_)));
                if is_lone {
                    out.value(words);
                    is_inline = true;
                } else if !words.trim().is_empty() {
                    out.line(depth);
                    out.value(words.trim());
                } else {
                    is_inline = is_inside;
                }
            }
        }
    }
    out.is_whole = joined(&out.text) == sent;
    Some(out)
}

/// Lines put together again: where one ended within a tag there was a space, elsewhere nothing. The page's script does
/// the same, to show what was sent.
fn joined(lines: &str) -> String {
    let mut out = String::with_capacity(lines.len());
    for line in lines.split('\n') {
        if out.rfind('>') < out.rfind('<') {
            out.push(' ');
        }
        out.push_str(line.trim_start_matches('\t'));
    }
    out
}

impl Layout {
    /// Begins a line.
    fn line(&mut self, depth: usize) {
        for out in [&mut self.markup, &mut self.text] {
            if !out.is_empty() {
                out.push('\n');
            }
            out.extend(std::iter::repeat_n('\t', depth.min(INDENT_MAX)));
        }
    }

    fn words(&mut self, words: &str) {
        self.markup.push_str(&content(words));
        self.text.push_str(words);
    }

    fn tag(&mut self, tag: &str, depth: usize) {
        if tag.chars().count() <= TAG_CHARS_MAX || tag.starts_with("<!") {
            return self.words(tag);
        }
        for (at, part) in attributes(tag).into_iter().enumerate() {
            if at > 0 {
                self.line(depth + 2);
            }
            self.words(part);
        }
    }

    /// What stands between tags is what a reader looks for.
    fn value(&mut self, words: &str) {
        self.markup.push_str("<b>");
        self.words(words);
        self.markup.push_str("</b>");
    }
}

/// A tag's parts, split at white space outside of quotes.
fn attributes(tag: &str) -> Vec<&str> {
    let mut quote = None;
    let is_gap = |c: char| {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            _ => {}
        }
        quote.is_none() && c.is_ascii_whitespace()
    };
    tag.split(is_gap).filter(|part| !part.is_empty()).collect()
}

fn pieces(source: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let mut rest = source;
    while !rest.is_empty() {
        let end = if rest.starts_with('<') { tag_end(rest) } else { rest.find('<').unwrap_or(rest.len()) };
        let (piece, after) = rest.split_at(end);
        rest = after;
        out.push(if !piece.starts_with('<') || piece.starts_with("<![CDATA[") || !piece.ends_with('>') {
            Piece::Text(piece)
        } else if piece.starts_with("</") {
            Piece::End(piece)
        } else if piece.starts_with("<?") || piece.starts_with("<!") || piece.ends_with("/>") {
            Piece::Whole(piece)
        } else {
            Piece::Start(piece)
        });
    }
    out
}

/// The octets of the markup that begins here; all of the rest when it does not end.
fn tag_end(rest: &str) -> usize {
    let until = |close: &str| rest.find(close).map_or(rest.len(), |at| at + close.len());
    if rest.starts_with("<!--") {
        return until("-->");
    }
    if rest.starts_with("<![CDATA[") {
        return until("]]>");
    }
    if rest.starts_with("<?") {
        return until("?>");
    }
    let mut quote = None;
    for (at, character) in rest.char_indices() {
        match (quote, character) {
            (None, '>') => return at + 1,
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(source: &str) -> String {
        pretty(source).unwrap().markup.replace("<b>", "").replace("</b>", "").replace("&lt;", "<").replace("&gt;", ">")
    }

    #[test]
    fn elements_are_indented_and_values_stay_in_their_line() {
        assert_eq!(
            plain("<?xml version='1'?><a> <b>1 &amp; 2</b><c/>\n<d><e></e></d><f> </f>t</a>").replace("&amp;amp;", "&"),
            "<?xml version='1'?>\n<a>\n\t<b>1 & 2</b>\n\t<c/>\n\t<d>\n\t\t<e></e>\n\t</d>\n\t<f> </f>\n\tt\n</a>"
        );
        assert_eq!(plain("<a><![CDATA[<z>]]></a><!-- > -->"), "<a><![CDATA[<z>]]></a>\n<!-- > -->");
        assert!(plain(&format!("<a x=\"1 2\" y='{}'/>", "z".repeat(100))).starts_with("<a\n\t\tx=\"1 2\"\n\t\ty="));
    }

    #[test]
    fn what_is_broken_is_shown_as_far_as_it_goes() {
        assert_eq!(plain("<a><b>1</c></d></e>"), "<a>\n\t<b>1</c>\n</d>\n</e>");
        assert_eq!(plain("<a><b x='"), "<a><b x='");
        assert!(pretty("not XML").is_none());
        assert!(pretty("<!DOCTYPE a [<!ENTITY b '>'>]><a/>").is_none());
    }

    #[test]
    fn what_was_on_one_line_can_be_put_on_one_again() {
        let long = format!("<a x=\"1 2\" y='{}'><b> 1 &amp; 2</b><c/></a>", "z".repeat(100));
        for whole in ["<a><b>1</b><c/><d><e></e></d></a>", "<?xml version='1'?><a><![CDATA[<z>]]></a>", &long] {
            assert!(pretty(whole).unwrap().is_whole, "{whole}");
        }
        // White space that is not shown, or that may be the layout's own, and what looks like a tag's end.
        let inside = long.replace("1 2", "1>2");
        let spaced = long.replace(" y=", "  y=");
        for other in
            ["<a> <b/></a>", "<a>\n\t<b/></a>", "<a>1\n\t2</a>", "\u{FEFF}<a/>", "<a>1<b/> </a>", &inside, &spaced]
        {
            assert!(!pretty(other).unwrap().is_whole, "{other}");
        }
    }

    #[test]
    fn nothing_of_the_source_becomes_markup() {
        let hostile = "<a><script>alert(1)</script><img src=x onerror='alert(2)'>&lt;b&gt;</i></pre></a>";
        let shown = pretty(hostile).unwrap().markup;
        assert_eq!(shown.replace("<b>", "").replace("</b>", "").find('<'), None, "{shown}");
    }
}
