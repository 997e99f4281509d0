//! The checker checked: snippets that break a rule must be caught, and look-alikes must pass.

use std::path::Path;

use super::documents::{self, INVARIANTS};
use super::layers::{core_errors, layer_errors, table_errors};
use super::rules;
use super::source::{SourceFile, paths};

fn layered(path: &str, text: &str) -> Vec<String> {
    layer_errors(&[SourceFile::new(path, text)])
}

fn core(path: &str, text: &str) -> Vec<String> {
    core_errors(&[SourceFile::new(path, text)])
}

#[test]
fn a_plain_import_is_caught_with_its_line() {
    let found = layered("src/provider/mod.rs", "//! x\n\nuse crate::soap::Fault;\n");
    assert_eq!(found, ["provider may not use crate::soap at src/provider/mod.rs:3"]);
}

#[test]
fn groups_are_taken_apart() {
    let found =
        layered("src/provider/a.rs", "use crate::{\n    cim::{self, Value},\n    xml::Writer,\n    job::Job,\n};");
    assert_eq!(found, ["provider may not use crate::xml at src/provider/a.rs:3"]);
    let nested = layered("src/job/state.rs", "use crate::{job::{a, b::{c, d}}, store::*};");
    assert_eq!(nested, ["job may not use crate::store at src/job/state.rs:1"]);
}

#[test]
fn paths_in_code_are_caught_as_imports_are() {
    let found = layered("src/xml/a.rs", "fn f(x: &crate::soap::Fault) -> Vec<crate::wsman::Request> { x.into() }");
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn super_that_leaves_the_module_is_caught() {
    let found = layered("src/provider/msvm/vm.rs", "use super::super::super::endpoint::Step;");
    assert_eq!(found, ["provider may not use crate::endpoint at src/provider/msvm/vm.rs:1"]);
    assert_eq!(layered("src/provider/msvm/vm.rs", "use super::super::table; use super::x;"), [""; 0]);
    assert_eq!(layered("src/provider/msvm/mod.rs", "use super::super::service::Engine;").len(), 1);
    let inline = "mod inner { use super::super::super::store::Store; }";
    assert_eq!(layered("src/job/state.rs", inline), ["job may not use crate::store at src/job/state.rs:1"]);
    assert_eq!(layered("src/job/mod.rs", "#[cfg(test)]\nmod tests { use super::*; }"), [""; 0]);
}

#[test]
fn the_root_as_a_whole_is_caught() {
    for text in ["use crate::*;", "use crate as root;", "use crate::{self as root};", "use super::*;"] {
        assert_eq!(layered("src/job/mod.rs", text).len(), 1, "{text}");
    }
    assert_eq!(layered("src/job/mod.rs", "pub(crate) fn f() {} pub(super) fn g() {}"), [""; 0]);
}

#[test]
fn a_macro_is_a_use_of_the_module_that_defines_it() {
    let files = [
        SourceFile::new("src/cim/number.rs", "macro_rules! cim_enum { () => {} }\npub(crate) use cim_enum;"),
        SourceFile::new("src/replication/state.rs", "cim_enum!();"),
        SourceFile::new("src/provider/state.rs", "crate::cim_enum!();"),
    ];
    assert_eq!(layer_errors(&files), ["replication may not use crate::cim at src/replication/state.rs:1"]);
}

#[test]
fn comments_strings_and_own_paths_pass() {
    let text = r##"
//! See crate::soap.
/* crate::soap /* nested */ crate::xml */
use crate::job::Job;
const A: &str = "crate::soap"; const B: &str = r#"use crate::xml; " "#; const C: char = '"'; const D: u8 = b'\'';
fn f<'a>(x: &'a str) -> &'a str { x } // crate::soap
"##;
    assert_eq!(layered("src/job/state.rs", text), [""; 0]);
}

#[test]
fn a_module_without_a_row_is_caught() {
    assert_eq!(layered("src/novel/mod.rs", ""), ["novel has no row in the layer table: src/novel/mod.rs"]);
}

#[test]
fn main_may_use_the_library_and_the_library_not_main() {
    assert_eq!(layered("src/main.rs", "fn main() { failbackd::cli::run(); }"), [""; 0]);
    assert_eq!(layered("src/server.rs", "use crate::cli::run;").len(), 1);
}

#[test]
fn a_row_that_names_a_later_row_is_caught() {
    assert_eq!(table_errors(&[("a", &["b"]), ("b", &[])]).len(), 1);
    assert_eq!(table_errors(&[("a", &[]), ("b", &["a"]), ("a", &[])]).len(), 1);
}

#[test]
fn the_outside_world_is_caught_in_core_modules() {
    for text in [
        "use tokio::sync::Mutex;",
        "use tokio;",
        "use std::{fmt, fs};",
        "use std::{io, time::{Duration, Instant}};",
        "fn f() { let _ = std::time::SystemTime::now(); }",
        "fn f() { ::std::fs::read(\"x\"); }",
        "use std::*;",
        "use std::net::IpAddr;",
        "fn f() { Uuid::new_v4(); }",
        "fn f() { getrandom::fill(&mut []); }",
        "#[cfg(not(test))] use std::env;",
    ] {
        assert_eq!(core("src/endpoint/mod.rs", text).len(), if text == "use std::*;" { 5 } else { 1 }, "{text}");
    }
}

#[test]
fn look_alikes_of_the_outside_world_pass() {
    for text in [
        "use std::time::Duration; use std::fmt;",
        "fn f(rand: u8) -> u8 { rand }",
        "#[cfg(test)] mod tests { use std::fs; fn g() { fs::read(\"x\"); } }",
        "#[test] fn g() { std::fs::read(\"x\"); }",
    ] {
        assert_eq!(core("src/endpoint/mod.rs", text), [""; 0], "{text}");
    }
    assert_eq!(core("src/transport/mod.rs", "use tokio::net::TcpListener;"), [""; 0]);
    let after = "#[cfg(test)] mod tests { fn g() {} } use std::fs;";
    assert_eq!(core("src/job/mod.rs", after).len(), 1, "code after the tests is no test");
}

#[test]
fn a_group_yields_its_leaves() {
    let file = SourceFile::new("src/a.rs", "use a::{b, c::{d, e as f}, *};\nx::<T>::y();");
    let leaves: Vec<String> = paths(&file).into_iter().filter(|p| p.in_use).map(|p| p.segments.join("::")).collect();
    assert_eq!(leaves, ["a::b", "a::c::d", "a::c::e", "a::*"]);
}

#[test]
fn rules_about_files_are_caught() {
    let long = format!("//! x\n{}\n", "é".repeat(121));
    assert_eq!(rules::size_errors(&SourceFile::new("src/a.rs", &long)).len(), 1);
    let quoted = format!("//! x\n#[cfg(test)]\nmod tests {{ fn a() {{}}\n{}\n}}", "é".repeat(121));
    assert_eq!(rules::size_errors(&SourceFile::new("src/a.rs", &quoted)), [""; 0]);
    let tall = "//! x\n".repeat(801);
    assert_eq!(rules::size_errors(&SourceFile::new("src/a.rs", &tall)).len(), 1);
    assert_eq!(rules::size_errors(&SourceFile::new("src/a.rs", &"//! x\n".repeat(800))), [""; 0]);
    assert_eq!(rules::comment_errors(&SourceFile::new("src/a.rs", "use a;\n//! x")).len(), 1);
    assert_eq!(rules::unfinished_errors(&SourceFile::new("src/a.rs", "// TODO: later\n// todos\n")).len(), 1);
    assert_eq!(rules::reader_errors(&SourceFile::new("src/soap/a.rs", "use quick_xml::Reader;")).len(), 1);
    assert_eq!(rules::reader_errors(&SourceFile::new(rules::XML_READER, "use quick_xml::Reader;")), [""; 0]);
    assert_eq!(rules::alias_errors(&SourceFile::new("src/a.rs", "extern crate self as x;")).len(), 2);
}

#[test]
fn unsafe_code_elsewhere_or_without_its_reason_is_caught() {
    let found = |path: &str, text: &str| rules::unsafe_errors(&SourceFile::new(path, text)).len();
    assert_eq!(found("src/a.rs", "// unsafe\nfn f() { unsafe {} }"), 1);
    assert_eq!(found("src/a.rs", "fn f() {\n    // SAFETY: it is not.\n    unsafe {}\n}"), 1);
    assert_eq!(found("src/a.rs", "type F = unsafe extern \"C\" fn();"), 1);
    for (text, errors) in [
        ("fn f() {\n    // SAFETY: it does nothing.\n    unsafe {}\n}", 0),
        ("// SAFETY: it\n// does nothing.\nunsafe impl Send for A {}", 0),
        ("type F = unsafe extern \"C\" fn();", 0),
        ("fn f() {\n    unsafe {}\n}", 1),
        ("unsafe {}", 1),
        ("// It does nothing.\nunsafe {}", 1),
        ("// SAFETY: it does nothing.\n\nunsafe {}", 1),
        ("// SAFETY: it does nothing.\nlet a = 1;\nunsafe {}", 1),
        ("// SAFETY: one.\nunsafe {}\nunsafe {}", 1),
        ("// SAFETY:\nunsafe fn f() {}", 1),
        ("/// SAFETY: documentation is for callers.\nunsafe fn f() {}", 1),
    ] {
        assert_eq!(found(rules::UNSAFE[0], text), errors, "{text}");
    }
}

#[test]
fn lint_exceptions_are_found_with_their_reasons() {
    let text = "#![expect(a, reason = \"because\")]\n#[cfg_attr(x, allow(b))]\nfn f() { x.expect(\"y\"); }\n\
                #[cfg(test)]\n#[allow(c, reason = \"tests\")]\nmod tests {}";
    let found = rules::lint_exceptions(&SourceFile::new("src/a.rs", text));
    let shape: Vec<_> = found.iter().map(|found| (found.is_allow, found.has_reason, found.in_test)).collect();
    assert_eq!(shape, [(false, true, false), (true, false, false), (true, true, true)], "{found:?}");
}

#[test]
fn paths_of_a_machine_are_caught() {
    let files = [("a.md".to_owned(), "see /build/place/x and /src/y".to_owned())];
    let machine = ["/build/place".to_owned(), "/src".to_owned()];
    assert_eq!(rules::machine_path_errors(&files, &machine).len(), 1);
}

#[test]
fn a_suite_that_links_the_server_is_caught() {
    for manifest in [
        "[dependencies]\nfailbackd = \"1\"",
        "[dev-dependencies]\nx = { package = \"failbackd\", version = \"1\" }",
        "[build-dependencies]\nx = { path = \"..\" }",
    ] {
        assert_eq!(rules::independence_errors(manifest, &[]).len(), 1, "{manifest}");
    }
    let file = SourceFile::new("conformance/src/main.rs", "use failbackd::xml;");
    assert_eq!(rules::independence_errors("", &[file]).len(), 1);
}

#[test]
fn documents_that_drift_are_caught() {
    let document = format!("## Layers\n{}\n## Modules\n| `src/xml/` | x |\n", documents::layer_rows().join("\n"));
    assert_eq!(documents::layer_table_errors(&document), [""; 0]);
    assert_eq!(documents::layer_table_errors(&document.replace("| `xml` | nothing", "| `xml` | `soap`")).len(), 1);
    assert_eq!(documents::module_errors(&document, &["xml/".to_owned()].into()), [""; 0]);
    assert_eq!(documents::module_errors(&document, &["soap/".to_owned()].into()).len(), 2);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let items: Vec<String> =
        INVARIANTS.iter().map(|name| format!("1. **{name}.** Because. Held by `Cargo.toml`.")).collect();
    let document = format!("## Invariants\n{}\n", items.join("\n"));
    assert_eq!(documents::invariant_errors(&document, root), [""; 0]);
    assert_eq!(documents::invariant_errors(&document.replace("Cargo.toml", "gone.rs"), root).len(), INVARIANTS.len());
    assert_eq!(documents::invariant_errors("## Invariants\n", root).len(), 1);
}
