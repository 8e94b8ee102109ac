//! Opening a data directory: everything is checked before anything is believed.

use std::path::Path;
use std::thread::JoinHandle;

use super::contents::{self, Contents};
use super::durable::Durable;
use super::engine::{Durability, LogEngine, Op, Sled};
use super::error::StartError;
use super::identity::{DataDir, Identity};
use super::record;
use super::snapshot::SnapshotFile;
use super::store::LogStore;
use super::watermark::Watermark;
use super::writer::Writer;

/// All that a node keeps, open and checked.
pub struct Disk {
    pub log: LogStore,
    pub durable: Durable,
    pub snapshot: SnapshotFile,
    pub identity: Identity,
    pub writer: Writer,
    /// Ends when the writer is closed, and gives the store and the lock back then.
    pub thread: JoinHandle<()>,
}

impl Disk {
    /// Opens the data directory of a node, or creates it.
    pub fn open(
        dir: &Path,
        cluster_id: &str,
        node_id: u64,
        durability: Durability,
    ) -> Result<Self, StartError> {
        let mut data_dir = DataDir::open(dir, cluster_id, node_id)?;
        let (mut watermark, noted) =
            Watermark::open(&data_dir.watermark()).map_err(StartError::io(&data_dir.watermark()))?;
        let snapshot = SnapshotFile::load(&data_dir.snapshot())?;
        let mut engine = open_engine(&data_dir, durability)?;
        let file = engine.file().to_owned();
        let mut contents = Contents::read(&file, engine.load().map_err(unreadable(&file))?)?;
        if data_dir.is_new() {
            give_birth(&mut engine, data_dir.identity())?;
            data_dir.mark_used()?;
        } else {
            contents.check_kept(&file, data_dir.identity(), noted)?;
            contents.check_log(&file)?;
            contents.check_snapshot(&data_dir.snapshot(), snapshot.last_log_id().as_ref())?;
        }
        watermark.resume(contents.watermark);
        let identity = data_dir.identity().clone();
        let (writer, thread) = Writer::start(engine, watermark, data_dir).map_err(StartError::io(&file))?;
        let log = LogStore::new(&mut contents, writer.clone());
        let durable = Durable::new(contents.records, writer.clone());
        Ok(Self { log, durable, snapshot, identity, writer, thread })
    }
}

fn open_engine(data_dir: &DataDir, durability: Durability) -> Result<Sled, StartError> {
    let (dir, file) = (data_dir.store(), data_dir.store().join("db"));
    // The engine would create what is missing, and so turn a loss into a fresh start.
    if !data_dir.is_new() && !file.exists() {
        return Err(StartError::lost(&file, "expected the file, got none"));
    }
    Sled::open(&dir, durability).map_err(unreadable(&file))
}

/// Some errors of reading mean a bad disk, the others a damaged file.
fn unreadable(file: &Path) -> impl FnOnce(std::io::Error) -> StartError + '_ {
    |e| match e.raw_os_error() {
        Some(_) => StartError::Io { file: file.to_owned(), source: e },
        None => StartError::corrupt(file, e),
    }
}

/// The first record of a store: whose it is. Until it is durable the store counts as never used.
fn give_birth(engine: &mut impl LogEngine, identity: &Identity) -> Result<(), StartError> {
    let file = engine.file().to_owned();
    let value = record::encode(identity).map_err(|e| StartError::corrupt(&file, e))?;
    engine.write(vec![Op::Put(contents::IDENTITY.to_vec(), value)]).map_err(StartError::io(&file))?;
    engine.sync().map_err(StartError::io(&file))
}
