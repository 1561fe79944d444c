//! The log against a disk that loses power, fails, fills up, and is tampered with.

mod crash;
mod damage;
mod failures;
mod reading;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::super::test_kit::{Dice, push};
use super::super::{Block, BlockBuilder, LogError, Lsn};
use super::disk::simulated::SimulatedDisk;
use super::format::{IndexEntry, KIND_ENTRIES, aggregate_key};
use super::writer::{Options, Writer};
use super::{Finished, Reader};

const FOLDER: &str = "/log";
const IDS: [&str; 5] = ["a", "b", "c", "d", "e"];

fn open(disk: &SimulatedDisk, options: Options) -> Result<Writer, LogError> {
    Writer::open(Arc::new(disk.clone()), Path::new(FOLDER), options)
}

/// Small segments, so that many begin and end.
fn options(dice: &mut Dice) -> Options {
    Options { segment_bytes: dice.one_of(&[2000, 8000, 30_000]), allocate_bytes: dice.one_of(&[0, 512, 4096, 8000]) }
}

/// The versions of the aggregates, as the blocks so far left them.
#[derive(Debug, Default, Clone)]
struct Versions(BTreeMap<&'static str, u64>);

impl Versions {
    fn of(blocks: &[Block]) -> Self {
        let mut versions = Self::default();
        for (_, entry) in blocks.iter().flat_map(Block::entries) {
            let id = IDS.into_iter().find(|id| *id == entry.aggregate_id).expect("a known id");
            versions.0.insert(id, entry.head.version);
        }
        versions
    }

    /// A block of one command, as long as every other such block: it ends where one of a lost group ended.
    fn small_block(&mut self, dice: &mut Dice) -> BlockBuilder {
        let mut block = BlockBuilder::new();
        let id = dice.one_of(&IDS);
        let version = self.0.entry(id).or_default();
        *version += 1;
        push(&mut block, id, *version, &dice.bytes(10));
        block
    }

    /// A block of a few commands with small or large bodies.
    fn block(&mut self, dice: &mut Dice) -> BlockBuilder {
        let mut block = BlockBuilder::new();
        for _ in 0..=dice.below(3) {
            let id = dice.one_of(&IDS);
            let version = self.0.entry(id).or_default();
            *version += 1;
            let length = if dice.chance(90) { dice.one_of(&[10, 10, 10, 400]) } else { dice.one_of(&[2000, 9000]) };
            push(&mut block, id, *version, &dice.bytes(length));
        }
        block
    }
}

/// Blocks with their index entries, as a writer wants them.
type Group = Vec<(Block, Vec<IndexEntry>)>;

/// Makes room for and seals as many blocks as fit into the segment, at least one.
fn group(writer: &mut Writer, builders: Vec<BlockBuilder>) -> Result<(Group, Option<Finished>), LogError> {
    let finished = writer.make_room(builders[0].len() as u64)?;
    let durable = writer.end();
    let mut end = durable;
    let mut out = Vec::new();
    for mut builder in builders {
        if !out.is_empty() && end.0 + builder.len() as u64 > writer.limit().0 {
            break;
        }
        let index = builder.take_index();
        let block = builder.seal(KIND_ENTRIES, 0, 1, end, durable, 0);
        end = block.end();
        out.push((block, index));
    }
    Ok((out, finished))
}

/// Writes `groups` groups and returns their blocks.
fn fill(writer: &mut Writer, versions: &mut Versions, dice: &mut Dice, groups: u64) -> Vec<Vec<Block>> {
    let mut written: Vec<Vec<Block>> = Vec::new();
    for _ in 0..groups {
        let builders = (0..=dice.below(3)).map(|_| versions.block(dice)).collect();
        let (blocks, finished) = group(writer, builders).expect("there is room");
        *versions = {
            let all: Vec<Block> = written.iter().flatten().chain(blocks.iter().map(|(b, _)| b)).cloned().collect();
            let mut now = versions.clone();
            // Blocks that did not fit any more are forgotten.
            now.0.extend(Versions::of(&all).0);
            now
        };
        writer.append(&blocks).expect("is written");
        finished.into_iter().for_each(Finished::seal);
        written.push(blocks.into_iter().map(|(block, _)| block).collect());
    }
    written
}

/// Every committed block, in order.
fn read_all(reader: &Reader) -> Result<Vec<Block>, LogError> {
    reader.iterate(Lsn(0), reader.end()).collect()
}

fn bytes(blocks: &[Block]) -> Vec<&[u8]> {
    blocks.iter().map(Block::bytes).collect()
}

/// Asks the index for every aggregate and compares with what the blocks say.
fn check_index(reader: &Reader, blocks: &[Block]) -> Result<(), LogError> {
    for id in IDS {
        let mut expected: Vec<(Lsn, u64)> = Vec::new();
        for block in blocks {
            let first = block.entries().find(|(_, entry)| entry.aggregate_id == id);
            expected.extend(first.map(|(_, entry)| (block.lsn(), entry.version_before())));
        }
        let found = reader.blocks_of(aggregate_key("account", id))?;
        assert_eq!(found, expected, "blocks of {id}");
    }
    Ok(())
}
