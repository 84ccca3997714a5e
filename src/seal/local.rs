//! `_local/` documents of a sealed channel: they never leave the device, and are sealed at rest like the rest.

use super::{
    Channel, Refusal,
    crypt::{first, mac, unwrap, wrap},
    json::Members,
    text::{base32, base64url},
};

const LABEL: &str = "local";

impl Channel {
    /// What a `_local/` document (its id without the prefix) is stored under: `v-` and 32 letters.
    pub fn local_id(&self, name: &str) -> String {
        let id: [u8; 20] = first(&mac(self.id_key(), &[b"local-id", name.as_bytes()]));
        format!("v-{}", base32(&id))
    }

    /// Seals the body of a `_local/` document, of revision `0-n`.
    pub fn seal_local(&self, name: &str, n: u64, body: &str) -> String {
        let sealed = wrap(self.id_key(), LABEL, &place(name, n), body.as_bytes());
        format!(r#"{{"x":"{}"}}"#, base64url(&sealed))
    }

    /// Opens it again.
    ///
    /// Errors: `not_opened`.
    pub fn open_local(&self, name: &str, n: u64, body: &str) -> Result<String, Refusal> {
        let mut members = Members::parse(body)?;
        let sealed = members.bytes("x")?;
        members.end()?;
        let plain = unwrap(self.id_key(), LABEL, &place(name, n), &sealed).ok_or(Refusal::NotOpened)?;
        String::from_utf8(plain.to_vec()).map_err(|_| Refusal::Malformed)
    }
}

fn place(name: &str, n: u64) -> Vec<u8> {
    super::parts::enc(&[name.as_bytes(), &n.to_be_bytes()])
}
