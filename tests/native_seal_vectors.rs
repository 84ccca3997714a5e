//! The sealed format is frozen: what is in `tests/vectors/seal/v1.json` is made and opened, byte for byte.
//! `tests/format/` does the same with another implementation. `SETTEE_WRITE_VECTORS=1` writes the file; a
//! change in it is a new format.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/seal.rs"]
mod seal;
#[path = "support/seal_vectors.rs"]
mod seal_vectors;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/seal/v1.json");

#[test]
fn the_format_is_what_it_was() {
    if std::env::var_os("SETTEE_WRITE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(&seal_vectors::vectors(true)).unwrap();
        std::fs::write(PATH, text + "\n").unwrap();
    }
    seal_vectors::check(&std::fs::read_to_string(PATH).unwrap(), true);
}
