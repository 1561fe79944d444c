//! Reading by address, in order and by aggregate.

use super::super::super::test_kit::Dice;
use super::super::super::{LogError, Lsn};
use super::super::disk::simulated::SimulatedDisk;
use super::super::format::{Block, aggregate_key};
use super::{IDS, Options, Versions, bytes, check_index, fill, open};

#[test]
fn a_log_is_read_by_address_in_order_and_by_aggregate() {
    let mut dice = Dice(3);
    let disk = SimulatedDisk::new(1);
    let options = Options { segment_bytes: 60_000, allocate_bytes: 4096 };
    let mut writer = open(&disk, options).expect("opens");
    let blocks = fill(&mut writer, &mut Versions::default(), &mut dice, 300).concat();
    let reader = writer.reader();
    for block in &blocks {
        assert_eq!(reader.block(block.lsn()).expect("is there").bytes(), block.bytes());
    }
    let (from, until) = (blocks[17].lsn(), blocks[400].lsn());
    let some: Vec<Block> = reader.iterate(from, until).collect::<Result<_, _>>().expect("can be read");
    assert_eq!(bytes(&some), bytes(&blocks[17..400]));
    check_index(&reader, &blocks).expect("can be asked");

    // The same again from sidecars alone, and from none.
    drop(writer);
    check_index(&open(&disk, options).expect("opens").reader(), &blocks).expect("can be asked");
    let sidecars = disk.paths().into_iter().filter(|path| path.extension().is_some_and(|e| e == "idx"));
    assert!(sidecars.map(|path| disk.replace(&path, None)).count() > 5);
    check_index(&open(&disk, options).expect("opens").reader(), &blocks).expect("can be asked");
}

#[test]
fn pages_of_blocks_join_and_versions_are_found_without_reading_older_segments() {
    let mut dice = Dice(4);
    let disk = SimulatedDisk::new(1);
    let mut writer = open(&disk, Options { segment_bytes: 30_000, allocate_bytes: 0 }).expect("opens");
    let blocks = fill(&mut writer, &mut Versions::default(), &mut dice, 200).concat();
    let reader = writer.reader();
    for id in IDS {
        let key = aggregate_key("account", id);
        let all = reader.blocks_of(key).expect("can be asked");
        let (mut paged, mut before) = (Vec::new(), reader.end());
        loop {
            let page = reader.blocks_before(key, before, 7).expect("can be asked");
            let Some((last, _)) = page.last() else { break };
            before = *last;
            paged.extend(page);
        }
        paged.reverse();
        assert_eq!(paged, all);
        let head = Versions::of(&blocks).0[id];
        for from in [1, 2, head / 2, head] {
            let found = reader.blocks_from("account", id, from).expect("can be asked");
            let needed = blocks
                .iter()
                .filter(|block| block.entries().any(|(_, e)| e.aggregate_id == id && e.head.version >= from));
            assert_eq!(
                found.iter().map(|(lsn, _)| *lsn).collect::<Vec<_>>(),
                needed.map(Block::lsn).collect::<Vec<_>>()
            );
        }
    }
    // The newest version is found although the first segment is gone.
    disk.replace(std::path::Path::new("/log/00000000000000000000.idx"), None);
    disk.replace(std::path::Path::new("/log/00000000000000000000.log"), None);
    reader.blocks_from("account", "a", Versions::of(&blocks).0["a"]).expect("the first segment is not needed");
}

#[test]
fn nothing_is_read_beyond_the_end_or_between_blocks() {
    let mut dice = Dice(5);
    let disk = SimulatedDisk::new(1);
    let mut writer = open(&disk, Options::default()).expect("opens");
    let blocks = fill(&mut writer, &mut Versions::default(), &mut dice, 3).concat();
    let reader = writer.reader();
    assert!(matches!(reader.block(reader.end()), Err(LogError::Corrupt(_))));
    assert!(matches!(reader.block(Lsn(blocks[0].lsn().0 + 1)), Err(LogError::Corrupt(_))));
    assert_eq!(reader.iterate(reader.end(), Lsn(u64::MAX)).count(), 0);
}
