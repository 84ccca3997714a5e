//! The rules of ARCHITECTURE.md that a compiler does not keep: who may import whom, where browser
//! crates may be named, that every module says what it is for, and that files stay one idea long.
#![cfg(not(target_arch = "wasm32"))]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Which top-level modules each may import. `bindings` may import everything.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("model", &["error"]),
    ("platform", &["error", "model"]),
    ("revtree", &["error", "model"]),
    ("seal", &["model"]),
    ("selector", &["error"]),
    ("store", &["error", "model"]),
    ("peer", &["error", "model"]),
    ("log", &["error", "model", "revtree", "seal", "store"]),
    ("database", &["error", "log", "model", "peer", "platform", "revtree", "seal", "selector", "store"]),
    ("keys", &["database", "error", "platform", "seal", "store"]),
    ("remote", &["error", "model", "peer", "platform"]),
    ("replicate", &["error", "model", "peer", "platform"]),
    ("web", &["error", "model", "platform", "remote", "store"]),
];

/// Crates that speak to a browser; only `web` and `bindings` may name them.
const BROWSER_CRATES: &[&str] =
    &["wasm_bindgen", "wasm_bindgen_futures", "js_sys", "web_sys", "rexie", "gloo_timers", "gloo_events"];

/// Modules in which nothing may wait.
const SYNCHRONOUS: &[&str] = &["revtree", "log", "seal", "selector"];

/// A file longer than this says why in its module doc, with the words "long because".
const LONG_FILE_LINES: usize = 600;

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, out: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                out.push((path, text));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut out = Vec::new();
    walk(&root, &mut out);
    out.sort();
    assert!(out.len() > 20, "the sources were not found");
    out.into_iter().map(|(path, text)| (path.strip_prefix(&root).unwrap().to_owned(), text)).collect()
}

/// The top-level module a source file belongs to.
fn module(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// A file's code: no comments, and nothing from the first `#[cfg(test)]` on.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod").unwrap_or(text.len());
    let lines = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The top-level modules that a file's code names after `crate::`, alone or in a braced list.
fn imports(code: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = Vec::new();
    for (at, marker) in code.match_indices("crate::") {
        // `$crate::` and `other_crate::` are not ours.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + marker.len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let (mut depth, mut start, mut is_item) = (0, 0, true);
            for (index, c) in list.char_indices() {
                if is_item && !c.is_whitespace() {
                    (start, is_item) = (index, false);
                }
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => {
                        found.push(name(&list[start..index]));
                        break;
                    }
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        found.push(name(&list[start..index]));
                        is_item = true;
                    }
                    _ => {}
                }
            }
        } else {
            found.push(name(rest));
        }
    }
    found.retain(|name| !name.is_empty() && name.chars().all(|c| c.is_lowercase() || c == '_'));
    found
}

#[test]
fn the_import_scanner_sees_both_forms() {
    let code = "use crate::{\n    error::{Error, Result},\n    model::Rev,\n};\nlet x = crate::store::y();\n";
    assert_eq!(imports(code), ["error", "model", "store"]);
}

#[test]
fn imports_point_downwards() {
    let allowed: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    for (path, text) in sources() {
        let from = module(&path);
        if from == "lib" || from == "bindings" {
            continue;
        }
        let Some(allowed) = allowed.get(from.as_str()) else {
            panic!(
                "{}: module `{from}` has no place in the order; give it one here and in ARCHITECTURE.md",
                path.display()
            )
        };
        for to in imports(&code(&text)) {
            assert!(
                to == from || allowed.contains(&to.as_str()),
                "{}: `{from}` may not import `{to}`",
                path.display()
            );
        }
    }
}

#[test]
fn only_the_edges_name_the_browser() {
    for (path, text) in sources() {
        if ["web", "bindings"].contains(&module(&path).as_str()) {
            continue;
        }
        for name in BROWSER_CRATES {
            assert!(!code(&text).contains(&format!("{name}::")), "{} names {name}", path.display());
        }
    }
}

#[test]
fn what_decides_does_not_wait() {
    for (path, text) in sources() {
        if SYNCHRONOUS.contains(&module(&path).as_str()) {
            let code = code(&text);
            assert!(!code.contains("async ") && !code.contains(".await"), "{} waits", path.display());
        }
    }
}

#[test]
fn nothing_in_the_core_asks_the_machine() {
    for (path, text) in sources() {
        if ["web", "bindings"].contains(&module(&path).as_str()) {
            continue;
        }
        for name in ["SystemTime", "Instant::now", "std::thread", "getrandom", "std::fs", "std::net"] {
            assert!(!code(&text).contains(name), "{} names {name}", path.display());
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (path, text) in sources() {
        assert!(text.starts_with("//!"), "{} has no module documentation", path.display());
    }
}

#[test]
fn files_are_one_idea_long() {
    for (path, text) in sources() {
        let doc = text.lines().take_while(|line| line.starts_with("//!")).collect::<String>();
        let lines = text.lines().count();
        assert!(
            lines <= LONG_FILE_LINES || doc.contains("long because"),
            "{} has {lines} lines; split it or say why in its module doc",
            path.display()
        );
    }
}

#[test]
fn to_do_notes_name_an_issue() {
    for (path, text) in sources() {
        for (index, line) in text.lines().enumerate() {
            let marker = ["TO", "DO"].concat();
            assert!(
                !line.contains(&marker) || line.contains(&format!("{marker}(#")),
                "{}:{}: a note of what is to be done names its issue",
                path.display(),
                index + 1
            );
        }
    }
}

#[test]
fn every_module_is_on_the_map() {
    let map = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    for (path, _) in sources() {
        let module = module(&path);
        if module != "lib" {
            assert!(map.contains(&format!("`src/{module}")), "ARCHITECTURE.md does not place `src/{module}`");
        }
    }
}
