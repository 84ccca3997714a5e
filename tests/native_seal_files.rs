//! Sealed attachments: whole, from any place, and everything a server could do to their bytes.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/rng.rs"]
mod rng;
#[path = "support/seal.rs"]
mod seal;

use std::collections::BTreeMap;

use rng::cases;
use seal::*;
use settee::seal::*;

fn read(channel: &Channel, id: &str, entry: &FileEntry, sealed: &[u8]) -> Result<Vec<u8>, Refusal> {
    FileOpener::open_all(channel.ch(), &channel.remote_id(id), entry, sealed)
}

#[test]
fn contents_come_back_whole_and_from_any_place() {
    cases("contents_come_back_whole_and_from_any_place", 12, |mut rng| {
        let chance = Chance::new(rng.next());
        let home = home(&chance);
        let edges = [0, 1, 1023, 1024, 1025, 16_384, 65_535, 65_536, 65_537, 131_072, 131_073];
        let length = if rng.percent(60) { *rng.pick(&edges) } else { rng.below(300_000) };
        let plain = rng.bytes(length);
        let (entry, sealed) = home.attach("a", "f", &plain, &chance);
        assert_eq!((entry.length, entry.hash), (length as u64, PlainFile::of(&plain).hash));
        assert_eq!(entry.stub().length, sealed.len() as u64);
        assert_eq!(read(home.channel(), "a", &entry, &sealed).unwrap(), plain);
        let (head, _) = sealed.split_at(FileOpener::HEAD_BYTES);
        let opener =
            FileOpener::new(home.channel().ch(), &home.channel().remote_id("a"), &entry, head).unwrap();
        let mut whole = Vec::new();
        for index in 0..opener.chunks() {
            let range = opener.sealed_range(index);
            let part = opener.open(index, &sealed[range.start as usize..range.end as usize]).unwrap();
            let start = (index * CHUNK_BYTES) as usize;
            assert_eq!(part, plain[start.min(length)..(start + CHUNK_BYTES as usize).min(length)]);
            whole.extend(part);
        }
        assert_eq!(whole, plain);
        assert_eq!(opener.sealed_range(opener.chunks()).count(), 0);
        assert!(opener.open(opener.chunks(), &[]).is_err() && opener.open(u64::MAX, &[0; 16]).is_err());
    });
}

#[test]
fn a_file_is_filled_up_to_its_step() {
    let chance = Chance::new(1);
    let home = home(&chance);
    for (length, whole) in [(0, 1024), (1, 1024), (1022, 1024), (1023, 1024), (1024, 1024), (1025, 2048)] {
        let (entry, sealed) = home.attach("a", "f", &plain(length), &chance);
        assert_eq!(sealed.len(), 16 + whole + TAG_BYTES);
        assert_eq!(read(home.channel(), "a", &entry, &sealed), Ok(plain(length)));
    }
}

#[test]
fn a_chunk_is_a_chunk_and_what_fills_it_up() {
    let chance = Chance::new(1);
    let home = home(&chance);
    let length = (64 << 20) + 1;
    let plain = PlainFile { hash: [0; 32], digest: PlainFile::of(b"").digest, length };
    let remote = home.channel().remote_id("a");
    let mut sealer =
        FileSealer::new(home.channel().ch(), &remote, "f", "t", plain, 1, &|bytes| chance.fill(bytes));
    let mut sealed = sealer.head().len() as u64;
    let mut nonces = std::collections::HashSet::new();
    let whole = [7; STREAM_CHUNK_BYTES];
    for bytes in [&[][..], &[7], &whole[..65_535]] {
        assert_eq!(sealer.chunk(bytes), Err(Refusal::BadDocument), "before its end");
    }
    for _ in 0..length / CHUNK_BYTES {
        let (nonce, text) = sealer.chunk(&whole).unwrap().unwrap();
        assert!(nonces.insert(nonce) && text == &whole[..]);
        sealed += (text.len() + TAG_BYTES) as u64;
    }
    let left = sealer.chunk(&whole);
    assert_eq!(left, Err(Refusal::BadDocument), "more than was hashed");
    let mut last = &[7][..];
    let mut count = 0;
    while let Some((nonce, text)) = sealer.chunk(last).unwrap() {
        assert!(nonces.insert(nonce) && text.len() <= STREAM_CHUNK_BYTES);
        assert_eq!((&text[..last.len()], text.iter().filter(|byte| **byte != 0).count()), (last, last.len()));
        sealed += (text.len() + TAG_BYTES) as u64;
        (last, count) = (&[], count + 1);
    }
    assert!(count > 20, "{count} chunks of almost nothing but zeros");
    assert_eq!(sealer.chunk(&[7]), Err(Refusal::BadDocument));
    assert_eq!(sealed, sealer.finish().unwrap().stub().length);
}

#[test]
fn fewer_or_other_bytes_than_were_hashed_are_noticed() {
    let chance = Chance::new(1);
    let home = home(&chance);
    let plain = PlainFile::of(b"12345");
    let remote = home.channel().remote_id("a");
    let sealer =
        || FileSealer::new(home.channel().ch(), &remote, "f", "t", plain, 1, &|bytes| chance.fill(bytes));
    let mut out = Vec::new();
    for other in [&b""[..], b"1234", b"123456", &[0; STREAM_CHUNK_BYTES + 1]] {
        assert_eq!(sealer().seal_all(other, &mut out).err(), Some(Refusal::BadDocument));
    }
    assert!(sealer().finish().is_err());
    out.clear();
    let entry = sealer().seal_all(b"12346", &mut out).unwrap();
    assert_eq!(read(home.channel(), "a", &entry, &out), Err(Refusal::NotOpened));
}

#[test]
fn every_byte_of_the_contents_counts() {
    let chance = Chance::new(2);
    let home = home(&chance);
    let (entry, sealed) = home.attach("a", "f", &plain(900), &chance);
    for at in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[at / 8] ^= 1 << (at % 8);
        assert_eq!(read(home.channel(), "a", &entry, &changed), Err(Refusal::NotOpened), "bit {at}");
    }
    let (entry, sealed) = home.attach("a", "f", &plain(200_000), &chance);
    for at in (0..sealed.len()).step_by(9973).chain([15, 16, 65_567, 65_568, sealed.len() - 1]) {
        let mut changed = sealed.clone();
        changed[at] ^= 0x80;
        assert_eq!(read(home.channel(), "a", &entry, &changed), Err(Refusal::NotOpened), "byte {at}");
    }
}

#[test]
fn chunks_are_neither_cut_moved_repeated_nor_added() {
    let chance = Chance::new(3);
    let home = home(&chance);
    let (entry, sealed) = home.attach("a", "f", &plain(3 * 65_536 + 10), &chance);
    let (head, body) = sealed.split_at(16);
    let chunks: Vec<&[u8]> = body.chunks(65_552).collect();
    assert_eq!(chunks.len(), 4);
    let with = |order: &[usize]| {
        [&[head], &order.iter().map(|at| chunks[*at]).collect::<Vec<_>>()[..]].concat().concat()
    };
    let open = |bytes: &[u8]| read(home.channel(), "a", &entry, bytes);
    assert!(open(&with(&[0, 1, 2, 3])).is_ok());
    for order in [
        &[0, 1, 2][..],
        &[0, 1, 3],
        &[1, 0, 2, 3],
        &[0, 2, 1, 3],
        &[0, 0, 1, 2, 3],
        &[0, 1, 2, 3, 3],
        &[0, 1, 2, 2],
        &[3],
        &[],
        &[0, 1, 2, 3, 0],
    ] {
        assert_eq!(open(&with(order)), Err(Refusal::NotOpened), "{order:?}");
    }
    for length in [0, 1, 15, 16, 17, 65_568, sealed.len() - 1] {
        assert_eq!(open(&sealed[..length]), Err(Refusal::NotOpened), "{length}");
    }
    assert_eq!(open(&[&sealed[..], b"\0"].concat()), Err(Refusal::NotOpened));
    // An empty file's hash is right without any chunk.
    let (empty, bytes) = home.attach("a", "e", b"", &chance);
    assert_eq!(read(home.channel(), "a", &empty, &bytes), Ok(Vec::new()));
    for length in [0, 16, bytes.len() - 1] {
        assert_eq!(read(home.channel(), "a", &empty, &bytes[..length]), Err(Refusal::NotOpened));
    }
    // A chunk in the place of another, for who opens them one by one.
    let opener = FileOpener::new(home.channel().ch(), &home.channel().remote_id("a"), &entry, head).unwrap();
    for place in 0..4 {
        for (at, chunk) in chunks.iter().enumerate() {
            assert_eq!(opener.open(place, chunk).is_ok(), place == at as u64);
        }
    }
}

#[test]
fn contents_belong_to_their_document_and_channel() {
    let chance = Chance::new(4);
    let one = home(&chance);
    let other = home(&chance);
    let (a, a_bytes) = one.attach("a", "f", &plain(2000), &chance);
    let (b, b_bytes) = one.attach("a", "g", &plain(2000), &chance);
    assert!(read(one.channel(), "a", &a, &a_bytes).is_ok());
    assert!(read(one.channel(), "a", &a, &b_bytes).is_err());
    assert!(read(one.channel(), "a", &b, &a_bytes).is_err());
    assert!(read(one.channel(), "b", &a, &a_bytes).is_err());
    assert!(read(other.channel(), "a", &a, &a_bytes).is_err());
    let changed = [
        FileEntry { key: b.key.clone(), ..a.clone() },
        FileEntry { opaque: b.opaque, ..a.clone() },
        FileEntry { length: 1999, ..a.clone() },
        FileEntry { length: 2049, ..a.clone() },
        FileEntry { hash: [0; 32], ..a.clone() },
    ];
    for entry in changed {
        assert!(read(one.channel(), "a", &entry, &a_bytes).is_err());
    }
}

/// A source that gives one key for everything: still no stream meets another's key with other contents.
#[test]
fn a_stuck_source_repeats_no_stream() {
    let home = home(&Chance::stuck());
    let mut heads: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut names = std::collections::BTreeSet::new();
    for (id, name, contents) in
        [("a", "f", b"one"), ("a", "g", b"one"), ("a", "f", b"two"), ("b", "f", b"one"), ("b", "f", b"two")]
    {
        let (entry, sealed) = home.attach(id, name, contents, &Chance::stuck());
        assert_eq!(entry.key.expose(), &[7; 32]);
        assert!(heads.insert(sealed[..16].to_vec(), sealed.clone()).is_none());
        assert!(names.insert(entry.stub().name));
        let (_, again) = home.attach(id, name, contents, &Chance::stuck());
        assert_eq!(sealed, again);
    }
}

#[test]
fn a_server_learns_no_name_type_or_exact_length() {
    let chance = Chance::new(5);
    let home = home(&chance);
    let (a, a_bytes) = home.attach("a", "holiday.jpg", &plain(1000), &chance);
    let (b, b_bytes) = home.attach("a", "b", &plain(1), &chance);
    assert_eq!((a.stub().content_type, a.stub().length), (b.stub().content_type, b.stub().length));
    assert_eq!((a.stub().name.len(), a_bytes.len()), (26, b_bytes.len()));
    let (c, _) = home.attach("a", "holiday.jpg", &plain(1000), &chance);
    assert!(
        a.stub().name != c.stub().name && a.sealed_digest != c.sealed_digest,
        "equal photos look different"
    );
}
