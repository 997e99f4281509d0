//! Changes to an instance's markup, for Put and Create: properties set, added or left out, all else as it came.

use crate::xml::{Document, escape};

/// The instance with some properties changed. The rest of the markup stays octet for octet.
pub(crate) fn change(instance: &str, set: &[(&str, String)], leave_out: &[String]) -> Result<String, String> {
    let document = Document::parse(instance).map_err(|error| format!("the instance: {error}"))?;
    let mut edits: Vec<(usize, usize, String)> = Vec::new();
    let mut missing: Vec<&(&str, String)> = set.iter().collect();
    for index in document.elements(0) {
        let Some(node) = document.nodes.get(index) else { continue };
        let (from, to) = node.span;
        if leave_out.contains(&node.name.local) {
            edits.push((from, to, String::new()));
        } else if let Some(at) = missing.iter().position(|(name, _)| *name == node.name.local) {
            let (_, value) = missing.remove(at);
            edits.push((from, to, property(document.tag_name(index), value)));
        } else if set.iter().any(|(name, _)| *name == node.name.local) {
            // The second item of an array: it gives way to the one value.
            edits.push((from, to, String::new()));
        }
    }
    let root = document.tag_name(0);
    let prefix = root.split_once(':').map_or(String::new(), |(prefix, _)| format!("{prefix}:"));
    let added: String = missing.iter().map(|(name, value)| property(&format!("{prefix}{name}"), value)).collect();
    let mut out = instance.to_owned();
    let Some(end) =
        out.rfind("</").filter(|_| !out.trim_end().ends_with("/>") || document.elements(0).next().is_some())
    else {
        let open = out.trim_end().trim_end_matches("/>").to_owned();
        return Ok(format!("{open}>{added}</{root}>"));
    };
    out.insert_str(end, &added);
    for (from, to, text) in edits.into_iter().rev() {
        out.replace_range(from..to, &text);
    }
    Ok(out)
}

fn property(name: &str, value: &str) -> String {
    format!("<{name}>{}</{name}>", escape(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_set_added_and_left_out() {
        let instance = "<p:C xmlns:p='urn:c'><p:A>1</p:A><p:B xsi:nil='true' xmlns:xsi='x'/><p:D>4</p:D></p:C>";
        let changed = change(instance, &[("B", "a<b".to_owned()), ("E", "5".to_owned())], &["A".to_owned()]).unwrap();
        assert_eq!(changed, "<p:C xmlns:p='urn:c'><p:B>a&lt;b</p:B><p:D>4</p:D><p:E>5</p:E></p:C>");
        assert_eq!(change("<C/>", &[("E", "5".to_owned())], &[]).unwrap(), "<C><E>5</E></C>");
        let array = "<C><A>1</A><A>2</A></C>";
        assert_eq!(change(array, &[("A", "3".to_owned())], &[]).unwrap(), "<C><A>3</A></C>");
        assert!(change("<C", &[], &[]).is_err());
    }
}
