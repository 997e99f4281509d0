//! Lists the data files, so that a new one is built in by being there.

use std::fmt::Write as _;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = std::env::var("CARGO_MANIFEST_DIR")?;
    let mut out = String::new();
    for (constant, folder) in [("RULES", "rules"), ("CASES", "cases")] {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(Path::new(&root).join(folder))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                names.push(path);
            }
        }
        names.sort();
        writeln!(out, "/// The files of `{folder}/`: name and text.\nconst {constant}: &[(&str, &str)] = &[")?;
        for path in names {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            writeln!(out, "    ({:?}, include_str!({:?})),", format!("{folder}/{name}"), path.display().to_string())?;
        }
        out.push_str("];\n");
        println!("cargo::rerun-if-changed={folder}");
    }
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("data_files.rs"), out)?;
    Ok(())
}
