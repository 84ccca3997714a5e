//! The frozen vectors of the sealed format, made anew from what they were made of.

use serde_json::{Value, json};
use settee::{
    model::{canonical, hex},
    seal::*,
};

use super::seal::*;

const PASSPHRASE: &str = "correct horse battery staple";

/// Id, body and attachments of a document to be sealed.
type Written<'a> = (&'a str, &'a str, &'a [FileEntry]);

fn doc(entry: &Entry) -> Value {
    let doc = entry.to_doc();
    json!({"_id": doc.id, "_rev": doc.rev, "body": doc.body})
}

fn stubs(stubs: &[Stub]) -> Value {
    stubs
        .iter()
        .map(|stub| {
            json!({"name": stub.name, "content_type": stub.content_type, "revpos": stub.revpos,
                   "length": stub.length, "digest": stub.digest.to_string()})
        })
        .collect()
}

/// Makes the vectors. `slow` with those that take a passphrase.
pub fn vectors(slow: bool) -> Value {
    // What is drawn is written down in the order it is drawn in: other implementations have other chances.
    let draws = std::cell::RefCell::new(Vec::<String>::new());
    let chance = Chance::new(1);
    let entropy = |bytes: &mut [u8]| {
        chance.fill(bytes);
        draws.borrow_mut().push(hex(bytes));
    };
    let taken = |names: &[&str]| -> Value {
        let taken: Vec<String> = draws.borrow_mut().drain(..).collect();
        assert_eq!(taken.len(), names.len());
        names.iter().zip(taken).map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
    };

    let (mut vault, code) = Vault::create(&entropy);
    let account_draws = taken(&["code", "device_seed", "user_key"]);
    let entries = vault.create_channel(&entropy).unwrap();
    let channel_draws = taken(&["id_key", "random", "epoch_key"]);
    let first = vault.open_channel(None, &entries).unwrap();
    vault.remember(first.pin.clone());
    let second_epoch = vault.rotate(&first, &entropy).unwrap();
    let rotate_draws = taken(&["epoch_key"]);
    let all = [entries.clone(), vec![second_epoch.clone()]].concat();
    let second = vault.open_channel(Some(first.channel.ch()), &all).unwrap();

    let mut files = Vec::new();
    let mut file_vectors = Vec::new();
    let remote = first.channel.remote_id("note é");
    for (name, length) in [("a.jpg", 0usize), ("b.txt", 1000), ("c", 65_536), ("d", 200_000)] {
        let bytes = plain(length);
        let ch = first.channel.ch();
        let sealer = FileSealer::new(ch, &remote, name, "image/jpeg", PlainFile::of(&bytes), 1, &entropy);
        let mut sealed = Vec::new();
        let entry = sealer.seal_all(&bytes, &mut sealed).unwrap();
        let mut vector = json!({
            "name": name, "content_type": "image/jpeg", "length": length, "revpos": 1,
            "draws": taken(&["key"]),
            "plain_sha256": hex(&sha256(&bytes)),
            "stub": stubs(&[entry.stub()])[0],
            "sealed_length": sealed.len(),
            "sealed_sha256": hex(&sha256(&sealed)),
        });
        if length <= 1000 {
            vector["sealed"] = json!(hex(&sealed));
        }
        file_vectors.push(vector);
        files.push(entry);
    }

    let mut revisions = Vec::new();
    let mut put = |epoch: u64, deleted: bool, parent: Option<&Sealed>, together: &[Written]| {
        let channel = if epoch == 1 { &first.channel } else { &second.channel };
        let parent = parent.map(|parent| (&parent.rev, &parent.line));
        let prepared = together.iter().map(|&(id, body, files)| {
            prepare_revision(channel, &NewRevision { id, parent, deleted, body, files }).unwrap()
        });
        let all = seal_revisions(channel, &vault.author(), prepared.collect()).unwrap();
        for ((id, body, files), sealed) in together.iter().zip(&all) {
            revisions.push(json!({
                "epoch": epoch, "id": id, "deleted": deleted, "body": body,
                "parent": parent.map(|(rev, line)| json!({"rev": rev, "line": hex(line)})),
                "files": files.iter().map(|file| file.name.clone()).collect::<Vec<_>>(),
                "together": together.iter().map(|(id, _, _)| id).collect::<Vec<_>>(),
                "sealed": {"_id": sealed.id, "_rev": sealed.rev, "line": hex(&sealed.line),
                           "stubs": stubs(&sealed.stubs), "body": &*sealed.body},
            }));
        }
        all[0].clone()
    };
    let one = put(1, false, None, &[("note é", "{}", &[])]);
    let all_of_json = r#"{"b": [1.0, -0, 1e9, true, null], "a":"\u00e9\n😀"}"#;
    let two = put(1, false, Some(&one), &[("note é", all_of_json, &files)]);
    put(1, false, Some(&one), &[("note é", r#"{"big":123456789012345678901234567890}"#, &files[1..2])]);
    put(2, true, Some(&two), &[("note é", "{}", &[])]);
    let long = format!("{{\"text\":\"{}\"}}", "long ".repeat(5000));
    put(2, false, None, &[("_design/x", &long, &[]), ("a", "{}", &[]), ("b", r#"{"c":1}"#, &[])]);

    let (mut record, unlocked) = KeyRecord::new(vault, &code, &entropy);
    let mut record_vector = json!({"draws": taken(&["master"]), "code_only": hex(&record.to_bytes())});
    if slow {
        let lock = PassphraseLock::new(Cost::FLOOR, &entropy);
        let key = passphrase_key(PASSPHRASE, &lock).unwrap();
        record.set_passphrase(&unlocked, &lock, &key).unwrap();
        record_vector["passphrase"] = json!({
            "passphrase": PASSPHRASE, "draws": taken(&["salt"]), "memory_kib": lock.cost.memory_kib,
            "passes": lock.cost.passes, "key": hex(key.expose()), "record": hex(&record.to_bytes()),
        });
    }

    let forms: Vec<Value> =
        ["{}", r#"{ "b":1.50, "a":[null,true,false,"\u00e9\/"],"aa":{}}"#, r#"{"\ud83d\ude00":""}"#]
            .iter()
            .map(|text| json!({"json": text, "form": hex(&canonical::form(text).unwrap())}))
            .collect();
    let lengths: Vec<Value> = [0u64, 1, 1024, 1025, 16_384, 16_385, 65_537, 1_000_000, 20_000_000]
        .iter()
        .map(|length| json!([length, padded_len(*length)]))
        .collect();
    json!({
        "format": 1,
        "recovery_code": code.to_text().as_str(),
        "account": {"name": hex(unlocked.vault.account()), "draws": account_draws},
        "channel": {
            "ch": hex(first.channel.ch()), "draws": channel_draws, "rotate_draws": rotate_draws,
            "log": all.iter().map(doc).collect::<Vec<_>>(),
            "heads": [hex(first.channel.log_head()), hex(second.channel.log_head())],
        },
        "files": file_vectors,
        "revisions": revisions,
        "record": record_vector,
        "forms": forms,
        "padded": lengths,
    })
}

/// Whether the frozen vectors are still what comes out, and whether they open.
pub fn check(frozen: &str, slow: bool) {
    let mut frozen: Value = serde_json::from_str(frozen).unwrap();
    if !slow {
        frozen["record"].as_object_mut().unwrap().remove("passphrase");
    }
    let now = vectors(slow);
    for (part, value) in now.as_object().unwrap() {
        assert_eq!(*value, frozen[part], "{part}");
    }
    assert_eq!(now, frozen);

    let entries: Vec<Entry> = frozen["channel"]["log"]
        .as_array()
        .unwrap()
        .iter()
        .map(|doc| {
            let rev = doc["_rev"].as_str().unwrap().parse().unwrap();
            read_log_doc(doc["_id"].as_str().unwrap(), &rev, doc["body"].as_str().unwrap()).unwrap()
        })
        .collect();
    let code = RecoveryCode::parse(frozen["recovery_code"].as_str().unwrap()).unwrap();
    let chance = Chance::new(99);
    let vault = Vault::recover(&code, &entries, &|bytes| chance.fill(bytes)).unwrap();
    let replay = vault.open_channel(None, &entries).unwrap();
    let mut opened = 0;
    for revision in frozen["revisions"].as_array().unwrap() {
        let sealed = &revision["sealed"];
        let stubs: Vec<Stub> = sealed["stubs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|stub| Stub {
                name: stub["name"].as_str().unwrap().into(),
                content_type: stub["content_type"].as_str().unwrap().into(),
                revpos: stub["revpos"].as_u64().unwrap(),
                length: stub["length"].as_u64().unwrap(),
                digest: stub["digest"].as_str().unwrap().parse().unwrap(),
            })
            .collect();
        let path = [sealed["_rev"].as_str().unwrap().parse().unwrap()];
        let received = Received {
            id: sealed["_id"].as_str().unwrap(),
            path: &path,
            deleted: revision["deleted"].as_bool().unwrap(),
            stubs: &stubs,
            body: sealed["body"].as_str().unwrap(),
        };
        let found = open_revision(&replay.channel, &received, &|_| None).unwrap();
        assert_eq!(found.id, revision["id"].as_str().unwrap());
        assert_eq!(found.body, revision["body"].as_str().unwrap());
        assert_eq!(found.files.len(), stubs.len());
        opened += 1;
    }
    assert_eq!(opened, 7);
}
