//! `fields`: parts of a document, as the text that they are in it.

use super::Rendered;
use crate::model::text_at;

/// What is kept of an object's member.
enum Part<'a> {
    Whole(&'a str),
    Of(Parts<'a>),
}

type Parts<'a> = Vec<(&'a str, Part<'a>)>;

/// Writes what a document (JSON text) has at these paths, nested as it is there; what is in an array becomes
/// a member named by its place, as CouchDB has it.
pub(super) fn projected(out: &mut Rendered, text: &str, paths: &[Vec<String>]) {
    let mut parts = Parts::new();
    for path in paths {
        let mut found = Some(text);
        for name in path {
            found = found.and_then(|text| text_at(text, name));
        }
        if let Some(found) = found {
            keep(&mut parts, path, found);
        }
    }
    write(out, &parts);
}

fn keep<'a>(parts: &mut Parts<'a>, path: &'a [String], text: &'a str) {
    let [name, below @ ..] = path else { return };
    let at = parts.iter().position(|(other, _)| other == name).unwrap_or_else(|| {
        parts.push((name, Part::Of(Parts::new())));
        parts.len() - 1
    });
    match (&mut parts[at].1, below) {
        (part, []) => *part = Part::Whole(text),
        (Part::Of(inner), below) => keep(inner, below, text),
        // It is in there.
        (Part::Whole(_), _) => {}
    }
}

fn write(out: &mut Rendered, parts: &Parts<'_>) {
    out.push("{");
    for (index, (name, part)) in parts.iter().enumerate() {
        if index > 0 {
            out.push(",");
        }
        out.push_str(name);
        out.push(":");
        match part {
            Part::Whole(text) => out.push(text),
            Part::Of(inner) => write(out, inner),
        }
    }
    out.push("}");
}
