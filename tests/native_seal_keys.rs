//! Keys: the recovery code, the locks of a key record, the channel's log, and a server that makes things up.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/rng.rs"]
mod rng;
#[path = "support/seal.rs"]
mod seal;

use rng::cases;
use seal::*;
use settee::seal::*;

const LETTERS: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

fn bits(code: &RecoveryCode) -> String {
    code.to_text().to_string()
}

fn err<T>(result: Result<T, Locked>) -> Locked {
    result.err().unwrap()
}

#[test]
fn a_code_comes_back_however_it_is_typed() {
    cases("a_code_comes_back_however_it_is_typed", 200, |mut rng| {
        let code = RecoveryCode::new(rng.bytes(16).try_into().unwrap());
        let text = bits(&code);
        assert_eq!((text.len(), text.split('-').count()), (34, 7));
        let typed = [
            text.to_lowercase(),
            text.replace('-', " "),
            text.replace('-', ""),
            format!("  {} \n", text.replace('0', "o").replace('1', "l")),
            text.replace('1', "I").replace('0', "O").replace('-', "–"),
        ];
        for typed in typed {
            assert_eq!(bits(&RecoveryCode::parse(&typed).unwrap()), text, "{typed}");
        }
    });
    assert_eq!(bits(&RecoveryCode::new([0; 16])), "0000-0000-0000-0000-0000-0000-0000");
    assert_eq!(bits(&RecoveryCode::new([255; 16])), "ZZZZ-ZZZZ-ZZZZ-ZZZZ-ZZZZ-ZZZZ-ZWYX");
}

/// Every wrong letter in every place, every two that changed places, and most pairs of wrong letters.
#[test]
fn typing_mistakes_are_found() {
    cases("typing_mistakes_are_found", 5, |mut rng| {
        let text = bits(&RecoveryCode::new(rng.bytes(16).try_into().unwrap())).replace('-', "");
        let letters: Vec<char> = text.chars().collect();
        let mistyped = |letters: &[char]| {
            let typed: String = letters.iter().collect();
            assert_eq!(err(RecoveryCode::parse(&typed)), Locked::Mistyped, "{typed} for {text}");
        };
        let mut tried = 0;
        for at in 0..28 {
            for letter in LETTERS.chars().filter(|letter| *letter != letters[at]) {
                let mut wrong = letters.clone();
                wrong[at] = letter;
                mistyped(&wrong);
                let other = (at + 1 + rng.below(27)) % 28;
                let letter = *rng.pick(&LETTERS.chars().filter(|l| *l != wrong[other]).collect::<Vec<_>>());
                wrong[other] = letter;
                mistyped(&wrong);
                tried += 2;
            }
            for other in at + 1..28 {
                let mut wrong = letters.clone();
                wrong.swap(at, other);
                if wrong != letters {
                    mistyped(&wrong);
                    tried += 1;
                }
            }
            for bad in ['U', '*', 'é'] {
                let mut wrong = letters.clone();
                wrong[at] = bad;
                mistyped(&wrong);
            }
        }
        assert!(tried > 2000, "{tried}");
        assert_eq!(err(RecoveryCode::parse(&text[1..])), Locked::WrongLength);
        assert_eq!(err(RecoveryCode::parse(&format!("{text}0"))), Locked::WrongLength);
        assert_eq!(err(RecoveryCode::parse("")), Locked::WrongLength);
    });
}

/// 26 letters hold two bits more than a code has. They are zero, whatever check letters come after them.
#[test]
fn a_code_is_written_in_one_way() {
    let text = bits(&RecoveryCode::new([0x5a; 16])).replace('-', "");
    let letter = |value: usize| &LETTERS[value..=value];
    let last = LETTERS.find(&text[25..26]).unwrap();
    let reads = |value: usize| {
        let texts =
            (0..32 * 32).map(|n| [&text[..25], letter(value), letter(n / 32), letter(n % 32)].concat());
        texts.filter(|text| RecoveryCode::parse(text).is_ok()).count()
    };
    assert_eq!([0, 1, 2, 3].map(|spare| reads(last ^ spare)), [1, 0, 0, 0]);
}

#[test]
fn the_cost_of_guessing_has_a_floor_and_a_ceiling() {
    let salt = [1; 16];
    let cost = |memory_kib, passes| PassphraseLock { salt, cost: Cost { memory_kib, passes } };
    for (memory_kib, passes) in
        [(8, 3), (65_535, 3), (65_536, 2), (0, 0), (1_048_577, 3), (u32::MAX, 3), (65_536, 17)]
    {
        let lock = cost(memory_kib, passes);
        assert_eq!(err(passphrase_key("secret", &lock)), Locked::CostOutOfBounds, "{memory_kib} {passes}");
    }
    assert_eq!(err(passphrase_key("", &cost(65_536, 3))), Locked::EmptyPassphrase);
    // Changed in the stored record: refused before anything is computed, by what is read of it.
    let chance = Chance::new(1);
    let (vault, code) = Vault::create(&|bytes| chance.fill(bytes));
    let (mut record, unlocked) = KeyRecord::new(vault, &code, &|bytes| chance.fill(bytes));
    assert_eq!(
        err(record.set_passphrase(&unlocked, &cost(8, 3), &Key::new([1; 32]))),
        Locked::CostOutOfBounds
    );
    record.set_passphrase(&unlocked, &cost(65_536, 3), &Key::new([1; 32])).unwrap();
    let bytes = record.to_bytes();
    let at = bytes.windows(4).position(|four| four == 65_536u32.to_be_bytes()).unwrap();
    for memory_kib in [8u32, u32::MAX] {
        let mut changed = bytes.clone();
        changed[at..at + 4].copy_from_slice(&memory_kib.to_be_bytes());
        let changed = KeyRecord::from_bytes(&changed).unwrap();
        assert_eq!(err(changed.passphrase_lock()), Locked::CostOutOfBounds);
        assert_eq!(err(changed.unlock_with_passphrase(&Key::new([1; 32]))), Locked::Wrong);
    }
    // A cost that is allowed and still not the one that was written.
    let mut changed = bytes.clone();
    changed[at..at + 4].copy_from_slice(&65_537u32.to_be_bytes());
    let changed = KeyRecord::from_bytes(&changed).unwrap();
    assert!(changed.passphrase_lock().is_ok());
    assert_eq!(err(changed.unlock_with_passphrase(&Key::new([1; 32]))), Locked::Wrong);
}

/// A record with all three locks.
fn record(chance: &Chance) -> (KeyRecord, Unlocked, RecoveryCode, Key, Key) {
    let entropy = |bytes: &mut [u8]| chance.fill(bytes);
    let (vault, code) = Vault::create(&entropy);
    let (mut record, unlocked) = KeyRecord::new(vault, &code, &entropy);
    let passphrase = Key::new([5; 32]);
    let lock = PassphraseLock::new(Cost::FLOOR, &entropy);
    record.set_passphrase(&unlocked, &lock, &passphrase).unwrap();
    let device = record.set_device(&unlocked, &entropy);
    (record, unlocked, code, passphrase, device)
}

#[test]
fn each_lock_opens_the_same_vault() {
    let chance = Chance::new(2);
    let entropy = |bytes: &mut [u8]| chance.fill(bytes);
    let (record, mut unlocked, code, passphrase, device) = record(&chance);
    let record = KeyRecord::from_bytes(&record.to_bytes()).unwrap();
    let who = unlocked.vault.author().public;
    let account = *unlocked.vault.account();
    for opened in [
        record.unlock_with_passphrase(&passphrase),
        record.unlock_with_device(&device),
        record.unlock_with_code(&code),
    ] {
        let vault = opened.ok().unwrap().vault;
        assert_eq!((vault.author().public, *vault.account()), (who, account));
    }
    // What it remembers comes back, with channels that open.
    let entries = unlocked.vault.create_channel(&entropy).unwrap();
    let pin = unlocked.vault.open_channel(None, &entries).unwrap().pin;
    unlocked.vault.remember(pin.clone());
    let mut record = record;
    record.store(&unlocked);
    let again = record.unlock_with_device(&device).ok().unwrap();
    assert_eq!(again.vault.pins(), std::slice::from_ref(&pin));
    assert!(again.vault.open_channel(Some(&pin.ch), &entries).is_ok());
    // Locks come and go without the others.
    let other = Key::new([6; 32]);
    record.set_passphrase(&again, &PassphraseLock::new(Cost::FLOOR, &entropy), &other).unwrap();
    assert_eq!(err(record.unlock_with_passphrase(&passphrase)), Locked::Wrong);
    assert!(record.unlock_with_passphrase(&other).is_ok() && record.unlock_with_code(&code).is_ok());
    assert!(record.has_device());
    record.remove_device(&again);
    assert!(!record.has_device());
    assert_eq!(err(record.unlock_with_device(&device)), Locked::NoSuchLock);
    assert!(record.unlock_with_passphrase(&other).is_ok() && record.unlock_with_code(&code).is_ok());
}

/// Every bit of a stored record: no panic, no vault, and one error for all that depends on a secret.
#[test]
fn a_damaged_record_and_a_wrong_secret_look_the_same() {
    let (record, _, code, passphrase, device) = record(&Chance::new(3));
    let other = RecoveryCode::new([9; 16]);
    for wrong in [
        record.unlock_with_passphrase(&device),
        record.unlock_with_device(&passphrase),
        record.unlock_with_code(&other),
    ] {
        assert_eq!(err(wrong), Locked::Wrong);
    }
    let bytes = record.to_bytes();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        match KeyRecord::from_bytes(&changed) {
            Err(Locked::Malformed | Locked::UnknownVersion) => {}
            Err(other) => panic!("bit {bit}: {other}"),
            Ok(changed) => {
                assert_eq!(err(changed.unlock_with_passphrase(&passphrase)), Locked::Wrong, "bit {bit}");
                assert_eq!(err(changed.unlock_with_device(&device)), Locked::Wrong, "bit {bit}");
                assert_eq!(err(changed.unlock_with_code(&code)), Locked::Wrong, "bit {bit}");
            }
        }
    }
    for length in 0..bytes.len() {
        assert!(KeyRecord::from_bytes(&bytes[..length]).is_err(), "{length}");
    }
    assert!(KeyRecord::from_bytes(&[&bytes[..], b"\0"].concat()).is_err());
}

#[test]
fn secrets_are_in_nothing_that_is_stored_in_clear() {
    let (record, unlocked, code, passphrase, device) = record(&Chance::new(3));
    let stored = record.to_bytes();
    let has = |needle: &[u8]| stored.windows(needle.len()).any(|window| window == needle);
    assert!(!has(passphrase.expose()) && !has(device.expose()));
    assert!(!has(&unlocked.vault.author().public) && !has(unlocked.vault.account()));
    let text = code.to_text();
    assert!(!has(text.as_bytes()));
}

fn docs(entries: &[Entry]) -> Vec<Entry> {
    entries
        .iter()
        .map(|entry| {
            let doc = entry.to_doc();
            read_log_doc(&doc.id, &doc.rev, &doc.body).unwrap()
        })
        .collect()
}

#[test]
fn a_second_device_needs_the_code_and_the_database() {
    let chance = Chance::new(4);
    let entropy = |bytes: &mut [u8]| chance.fill(bytes);
    let home = home(&chance);
    let sealed = home.seal("n", r#"{"a":1}"#);
    let code = RecoveryCode::parse(&home.code.to_text()).unwrap();
    let there = docs(&home.entries);
    let mut second = Vault::recover(&code, &there, &entropy).unwrap();
    assert_eq!(second.account(), home.vault.account());
    assert_ne!(second.author().public, home.vault.author().public);
    let replay = second.open_channel(None, &there).unwrap();
    second.remember(replay.pin.clone());
    assert_eq!(Wire::new(&sealed, &[], false).open(&replay.channel).unwrap().body, r#"{"a":1}"#);
    // It adds itself; until that has arrived, what it writes waits at the first device.
    assert_eq!(replay.missing.len(), 1);
    let new = NewRevision { id: "m", parent: None, deleted: false, body: "{}", files: &[] };
    let theirs = Wire::new(&seal_revision(&replay.channel, &second.author(), &new).unwrap(), &[], false);
    assert_eq!(theirs.refusal(home.channel()), Refusal::UnknownAuthor);
    let grown = docs(&[home.entries.clone(), replay.missing].concat());
    let first = home.vault.open_channel(Some(home.channel().ch()), &grown).unwrap();
    assert!(theirs.open(&first.channel).is_ok());
    assert!(first.refused.is_empty() && first.missing.is_empty());
    // Without the code, or with another, there is nothing to find.
    assert_eq!(err(Vault::recover(&RecoveryCode::new([1; 16]), &there, &entropy)), Locked::NothingToRecover);
    assert_eq!(err(Vault::recover(&code, &[], &entropy)), Locked::NothingToRecover);
    let accounts = there.len() - 2;
    assert_eq!(err(Vault::recover(&code, &there[accounts..], &entropy)), Locked::NothingToRecover);
}

#[test]
fn a_device_that_was_certified_by_another_writes() {
    let chance = Chance::new(5);
    let mut home = home(&chance);
    let third = Signer::new(&Key::new([3; 32]));
    let entry = home.vault.certify(&third.public());
    let replay = home.vault.open_channel(None, &[home.entries.clone(), vec![entry]].concat()).unwrap();
    assert!(replay.channel.authors().contains(&third.public()));
    // Twice is once.
    let again = home.vault.certify(&third.public());
    let twice = home.vault.open_channel(None, &[home.entries.clone(), vec![again]].concat()).unwrap();
    assert_eq!((twice.channel.authors(), twice.refused.len()), (replay.channel.authors(), 0));
    // A stranger who certifies itself does not.
    let (stranger, _) = Vault::create(&|bytes| chance.fill(bytes));
    assert!(!replay.channel.authors().contains(&stranger.author().public));
}

#[test]
fn a_new_epoch_seals_and_the_old_one_still_opens() {
    let chance = Chance::new(6);
    let entropy = |bytes: &mut [u8]| chance.fill(bytes);
    let home = home(&chance);
    let before = home.seal("n", "{}");
    let mut entries = home.entries.clone();
    let mut replay = home.vault.open_channel(None, &entries).unwrap();
    for _ in 0..3 {
        entries.push(home.vault.rotate(&replay, &entropy).unwrap());
        replay = home.vault.open_channel(Some(&replay.pin.ch), &docs(&entries)).unwrap();
    }
    let numbers: Vec<u64> = replay.channel.epochs().iter().map(|epoch| epoch.number).collect();
    assert_eq!((numbers, replay.channel.current().unwrap().number), (vec![1, 2, 3, 4], 4));
    assert!(Wire::new(&before, &[], false).open(&replay.channel).is_ok());
    let new = NewRevision {
        id: "n",
        parent: Some((&before.rev, &before.line)),
        deleted: false,
        body: "{}",
        files: &[],
    };
    let after = seal_revision(&replay.channel, &home.vault.author(), &new).unwrap();
    assert_eq!(Envelope::parse(&after.body).unwrap().epoch, replay.channel.current().unwrap().id());
    assert_eq!(Wire::new(&after, &[&before], false).refusal(home.channel()), Refusal::UnknownEpoch);
    // Any order of the entries says the same.
    let mut backwards = docs(&entries);
    backwards.reverse();
    let again = home.vault.open_channel(None, &backwards).unwrap();
    assert_eq!((again.pin, again.channel.log_head()), (replay.pin.clone(), replay.channel.log_head()));
}

#[test]
fn a_new_user_key_and_the_chain_back() {
    let chance = Chance::new(7);
    let entropy = |bytes: &mut [u8]| chance.fill(bytes);
    let mut home = home(&chance);
    let before = home.seal("n", "{}");
    let key = home.vault.rotate_user_key(&home.code, &entropy).unwrap();
    assert_eq!(err(home.vault.rotate_user_key(&RecoveryCode::new([1; 16]), &entropy)), Locked::Wrong);
    let epoch = home.vault.rotate(&home.replay, &entropy).unwrap();
    let entries = docs(&[home.entries.clone(), vec![key, epoch]].concat());
    // A device that has only the newest user key reads the first epoch through the chain.
    let fresh = Vault::recover(&home.code, &entries, &entropy).unwrap();
    let replay = fresh.open_channel(None, &entries).unwrap();
    assert_eq!(replay.channel.epochs().len(), 2);
    assert!(Wire::new(&before, &[], false).open(&replay.channel).is_ok());
}

#[test]
fn two_devices_that_rotate_at_once_agree() {
    let chance = Chance::new(8);
    let entropy = |bytes: &mut [u8]| chance.fill(bytes);
    let home = home(&chance);
    let (a, b) = (
        home.vault.rotate(&home.replay, &entropy).unwrap(),
        home.vault.rotate(&home.replay, &entropy).unwrap(),
    );
    let one =
        home.vault.open_channel(None, &[home.entries.clone(), vec![a.clone(), b.clone()]].concat()).unwrap();
    let two = home.vault.open_channel(None, &[vec![b, a], home.entries.clone()].concat()).unwrap();
    assert_eq!(one.channel.current().unwrap().id(), two.channel.current().unwrap().id());
    assert_eq!(one.channel.epochs().len(), 3);
    // The next one comes after both, and brings both with it.
    let next = home.vault.rotate(&one, &entropy).unwrap();
    let all = [home.entries.clone(), vec![next]].concat();
    let waits = home.vault.open_channel(None, &all).unwrap();
    assert_eq!(waits.channel.current().unwrap().number, 1, "what it was written after is not there");
    assert_eq!(waits.refused.len(), 1);
}

/// What a server can do to a log that it keeps.
#[test]
fn a_server_makes_no_log() {
    let chance = Chance::new(9);
    let entropy = |bytes: &mut [u8]| chance.fill(bytes);
    let ours = home(&chance);
    let (ch, vault) = (*ours.channel().ch(), &ours.vault);
    // The server has accounts and channels of its own, with keys that it knows.
    let theirs = home(&chance);
    let their_epoch = theirs.vault.rotate(&theirs.replay, &entropy).unwrap();
    // Another genesis: nothing of it counts, and the channel is what it was.
    let planted = [ours.entries.clone(), theirs.entries.clone(), vec![their_epoch]].concat();
    for pin in [None, Some(&ch)] {
        let replay = vault.open_channel(pin, &planted).unwrap();
        assert_eq!((replay.channel.ch(), replay.channel.epochs().len()), (&ch, 1));
        assert_eq!(replay.channel.authors(), ours.channel().authors());
        assert_eq!(replay.refused.len(), theirs.entries.len() + 1);
    }
    // A channel swapped for the server's own.
    assert_eq!(vault.open_channel(None, &theirs.entries).err(), Some(Refusal::ForeignLog));
    assert_eq!(vault.open_channel(Some(&ch), &theirs.entries).err(), Some(Refusal::Rollback));
    // A channel swapped for another of the same owner: noticed where it was pinned.
    let second = vault.create_channel(&entropy).unwrap();
    assert_eq!(vault.open_channel(Some(&ch), &second).err(), Some(Refusal::Rollback));
    // Both at once: not guessed.
    let both = [ours.entries.clone(), second].concat();
    // What comes twice is there once.
    assert!(vault.open_channel(None, &[&ours.entries[..], &ours.entries].concat()).is_ok());
    assert_eq!(vault.open_channel(None, &both).err(), Some(Refusal::ForeignLog));
    assert!(vault.open_channel(Some(&ch), &both).is_ok());
}

#[test]
fn an_old_state_is_noticed_by_whoever_saw_a_newer_one() {
    let chance = Chance::new(10);
    let entropy = |bytes: &mut [u8]| chance.fill(bytes);
    let mut ours = home(&chance);
    let ch = *ours.channel().ch();
    let epoch = ours.vault.rotate(&ours.replay, &entropy).unwrap();
    let newer = [ours.entries.clone(), vec![epoch]].concat();
    let replay = ours.vault.open_channel(Some(&ch), &newer).unwrap();
    ours.vault.remember(replay.pin.clone());
    assert_eq!(ours.vault.open_channel(Some(&ch), &ours.entries).err(), Some(Refusal::Rollback));
    assert!(ours.vault.open_channel(Some(&ch), &newer).is_ok());
    // Of each channel what was seen of it.
    let second = ours.vault.create_channel(&entropy).unwrap();
    let other = ours.vault.open_channel(None, &second).unwrap().pin;
    ours.vault.remember(other.clone());
    assert_eq!((ours.vault.pin(&ch), ours.vault.pin(&other.ch)), (Some(&replay.pin), Some(&other)));
    // A device that never saw more cannot know.
    let fresh = Vault::recover(&ours.code, &ours.entries, &entropy).unwrap();
    assert!(fresh.open_channel(None, &ours.entries).is_ok());
    // Nothing at all.
    assert_eq!(ours.vault.open_channel(Some(&ch), &[]).err(), Some(Refusal::Rollback));
    assert_eq!(ours.vault.open_channel(None, &[]).err(), Some(Refusal::ForeignLog));
}

#[test]
fn an_entry_is_its_name_its_bytes_and_its_signature() {
    let home = home(&Chance::new(11));
    for entry in &home.entries {
        let doc = entry.to_doc();
        let read = |id: &str, rev: &str, body: &str| read_log_doc(id, &rev.parse().unwrap(), body);
        let rev = doc.rev.to_string();
        assert_eq!(read(&doc.id, &rev, &doc.body).as_ref(), Ok(entry));
        for bit in 0..doc.body.len() * 8 {
            let mut bytes = doc.body.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Ok(body) = String::from_utf8(bytes) else { continue };
            assert!(read(&doc.id, &rev, &body).is_err(), "bit {bit}");
        }
        let other = home.entries.iter().find(|other| other.hash() != entry.hash()).unwrap().to_doc();
        assert_eq!(read(&other.id, &rev, &doc.body), Err(Refusal::Revision));
        assert_eq!(read(&other.id, &other.rev.to_string(), &doc.body), Err(Refusal::Id));
        assert_eq!(read(&doc.id, "2-abc", &doc.body), Err(Refusal::Revision));
        assert_eq!(read("k-abc", &rev, &doc.body), Err(Refusal::ForeignId));
        assert_eq!(read(&home.channel().remote_id("a"), &rev, &doc.body), Err(Refusal::ForeignId));
        assert_eq!(read(&doc.id, &rev, "{}"), Err(Refusal::NotSealed));
        assert_eq!(
            read(&doc.id, &rev, &doc.body.replace("\"v\":1", "\"v\":2")),
            Err(Refusal::UnknownVersion)
        );
        assert_eq!(read(&doc.id, &rev, &doc.body.replace("log", "lag")), Err(Refusal::Malformed));
        assert_eq!(read(&doc.id, &rev, &"x".repeat(200_000)), Err(Refusal::TooLarge));
    }
}

#[test]
fn the_guard_is_a_design_document() {
    let guard: serde_json::Value = serde_json::from_str(&guard_document()).unwrap();
    assert_eq!((guard["_id"].as_str(), guard["language"].as_str()), (Some(GUARD_ID), Some("javascript")));
    assert!(guard["validate_doc_update"].as_str().unwrap().starts_with("function (newDoc"));
    assert_eq!(Class::of(GUARD_ID), Ok(Class::Guard));
}
