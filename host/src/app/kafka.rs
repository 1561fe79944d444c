//! The same composition on Kafka: lanes come and go with the group, commands are appended before they are decided.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;

use super::{Log, Running, engine, refuse_other, settings};
use crate::clock::Stopwatch;
use crate::config::Config;
use crate::decider::modules::{self, Modules};
use crate::decider::{RuleBook, Sandbox};
use crate::engine::{Awaited, Engine, Reply, Submission, Take, Unanswered};
use crate::lane::inbox::Control;
use crate::lane::supervisor::{Lanes, Shared};
use crate::log::kafka::agreement::Agreement;
use crate::log::kafka::directory::Directory;
use crate::log::kafka::group::{Member, Ours, Tenant};
use crate::log::kafka::intake::Intake;
use crate::log::kafka::options::Options;
use crate::log::kafka::watch::Watch;
use crate::log::kafka::{KafkaLog, Placement, RESULT_BYTES_MAX};
use crate::log::segment;
use crate::message::{AggregateType, Digest};
use crate::store::{Store, StoreError};

/// How often it is said for what a host waits.
const SAY_AGAIN: Duration = Duration::from_secs(30);

/// What a daemon on Kafka holds beside its lanes.
pub(super) struct Kafka {
    log: KafkaLog,
    member: Mutex<Option<Member>>,
    ours: Arc<Ours>,
    tenants: Arc<Tenants>,
    /// Since it was said what it waits for.
    said: Mutex<Option<Stopwatch>>,
    intake: Arc<Way>,
    /// Ends with it.
    _agreement: Agreement,
    /// Ends with it.
    _watch: Watch,
}

impl Kafka {
    /// Takes no more commands and gives the lanes back.
    pub(super) fn leave(&self) {
        self.intake.intake.close();
        if let Some(member) = &mut *self.member.lock().expect("no panic while held") {
            member.leave();
        }
    }

    /// Joins the group: lanes come.
    pub(super) fn join(&self) -> anyhow::Result<()> {
        let (ours, tenants) = (Arc::clone(&self.ours), Arc::clone(&self.tenants) as Arc<dyn Tenant>);
        let member = Member::join(self.log.options(), ours, tenants)?;
        *self.member.lock().expect("no panic while held") = Some(member);
        Ok(())
    }

    /// Whether this host has rules for every type of the layout; says now and then for which it has none.
    pub(super) fn has_rules(&self, engine: &Engine, modules: &Modules) -> bool {
        let layout = self.log.layout();
        let missing = layout.types.iter().map(|one| one.name.as_str()).filter(|of| modules.get_active(of).is_none());
        let missing: Vec<&str> = missing.collect();
        if missing.is_empty() {
            return true;
        }
        let what = format!("a module of type {}", missing.join(", one of type "));
        engine.wait_for(Some(&what));
        let mut said = self.said.lock().expect("no panic while held");
        if said.as_ref().is_none_or(|since| since.elapsed() > SAY_AGAIN) {
            *said = Some(Stopwatch::start());
            tracing::warn!(
                "this host takes no lanes, as nobody would decide their commands: it waits for {what}. Put it into the modules \
                 folder, or deploy it"
            );
        }
        false
    }

    /// Writes down how far the local copy is.
    pub(super) fn close(&self) {
        self.log.copy().close();
    }
}

struct Place {
    ours: Arc<Ours>,
    book: Arc<Modules>,
}

impl Placement for Place {
    fn is_ours(&self, lane: u32) -> bool {
        self.ours.has(lane)
    }

    fn contested(&self, lane: u32) {
        self.ours.contested(lane);
    }

    fn types(&self) -> Vec<AggregateType> {
        let mut types: Vec<_> = self.book.types().iter().filter_map(|name| AggregateType::parse(name).ok()).collect();
        // The same types are the same list each time.
        types.sort();
        types
    }

    fn modules(&self) -> BTreeMap<String, Digest> {
        let digest = |name: String| self.book.active(&name).map(|rules| (name, rules.digest()));
        self.book.types().into_iter().filter_map(digest).collect()
    }
}

struct Way {
    intake: Intake,
    ours: Arc<Ours>,
    directory: Directory,
    awaited: Vec<Arc<Awaited>>,
    log: KafkaLog,
}

impl Take for Way {
    fn sender(&self) -> Option<mpsc::Sender<Submission>> {
        self.intake.sender()
    }

    fn joined(&self) -> bool {
        self.ours.joined()
    }

    fn is_ours(&self, partition: u32) -> bool {
        self.ours.has(partition % self.log.layout().lanes)
    }

    fn owner(&self, partition: u32) -> Option<String> {
        self.directory.address(partition % self.log.layout().lanes)
    }

    fn own_address(&self) -> Option<String> {
        self.log.address()
    }

    fn expect(&self, of: &AggregateType, partition: u32, offset: u64, reply: Reply) {
        let lane = partition % self.log.layout().lanes;
        match (self.log.stream_of(of, partition), self.awaited.get(lane as usize)) {
            (Some(stream), Some(awaited)) if self.ours.has(lane) => {
                awaited.expect(stream, offset, reply, None);
                if !self.ours.has(lane) {
                    awaited.forget();
                }
            }
            _ => reply.send(Err(Unanswered::Interrupted)),
        }
    }
}

struct Tenants {
    lanes: Arc<Lanes>,
    awaited: Vec<Arc<Awaited>>,
}

impl Tenant for Tenants {
    fn has(&self, lane: u32) {
        if let Err(error) = self.lanes.start_lane(lane) {
            tracing::error!("{error}");
        }
    }

    fn leave(&self, lanes: &[u32], patience: Duration) {
        let late = self.lanes.stop_lanes(lanes, patience);
        if !late.is_empty() {
            tracing::warn!("lanes {late:?} did not end in time: their next owners fence them");
        }
    }

    fn lost(&self, lanes: &[u32]) {
        self.lanes.lose_lanes(lanes);
        // Also those who began to wait after the lane had ended.
        let lost = lanes.iter().filter_map(|lane| self.awaited.get(*lane as usize));
        lost.for_each(|awaited| awaited.forget());
    }

    fn cast_out(&self, why: &str) {
        self.lanes.fail(why);
    }
}

/// Opens log, store and modules, and joins the group. `http`: the address at which this host listens.
pub(super) fn start(config: &Config, options: Options, http: SocketAddr) -> anyhow::Result<Running> {
    for folder in [&config.data, &config.modules] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    refuse_other(
        &config.data,
        "log",
        "holds an embedded log, which is not moved to Kafka: run it without `log.kind = \"kafka\"`",
    )?;
    if http.ip().is_unspecified() && options.advertised.is_none() {
        tracing::warn!(
            "other hosts are told to reach this one at http://{http}, which is no address: set `log.advertised` if there are others"
        );
    }
    let mut limits = config.limits.clone();
    limits.result_bytes_max = limits.result_bytes_max.min(RESULT_BYTES_MAX);
    let sandbox = Sandbox::new(limits, Some(&config.data.join("compiled")))?;
    let modules = Arc::new(Modules::open(modules::Options { store_dir: config.data.join("modules"), sandbox })?);
    let ours = Arc::<Ours>::default();
    let place = Place { ours: Arc::clone(&ours), book: Arc::clone(&modules) };
    let segments = segment::Options { segment_bytes: config.log.segment_bytes, ..segment::Options::default() };
    let log = KafkaLog::open(options, &config.data.join("kafka"), segments, Arc::new(place))?;
    modules.admit_with(Arc::new(log.admission()));
    log.advertise(format!("http://{http}"));
    let layout = log.layout();
    let store = Arc::new(open_store(config, &log)?);
    let awaited: Vec<Arc<Awaited>> = (0..layout.lanes).map(|_| Arc::default()).collect();
    let (maker, waiting) = (log.clone(), awaited.clone());
    let lanes = Arc::new(Lanes::new(Shared {
        log: Box::new(move |lane, inbox, on_committed| {
            let commands = (Arc::clone(inbox), Arc::clone(&waiting[lane as usize]));
            Box::new(maker.lane(lane, Some(commands), on_committed))
        }),
        history: log.copy().reader(),
        store: Arc::clone(&store),
        book: Arc::clone(&modules) as Arc<dyn RuleBook>,
        settings: settings(config, layout.lanes, layout.partitions),
        queue_commands_max: config.queue.commands_max,
        queue_bytes_max: config.queue.bytes_max,
    }));
    let host = Arc::clone(&lanes);
    let intake = log.intake(awaited.clone(), move |why| host.fail(&why))?;
    let tenants = Tenants { lanes: Arc::clone(&lanes), awaited: awaited.clone() };
    let way = Way { intake, ours: Arc::clone(&ours), directory: log.directory()?, awaited, log: log.clone() };
    let way = Arc::new(way);
    let take = (layout.partitions, Some(Arc::clone(&way) as Arc<dyn Take>));
    let engine = engine(config, &lanes, &modules, &store, log.copy().reader(), take);
    let agreement = log.keep_agreement(doubt(&engine, &lanes))?;
    let boards: Vec<_> = lanes.ways.iter().map(|(_, board)| Arc::clone(board)).collect();
    let watch = log.watch(Box::new(move |lane, open| {
        if let Some(board) = boards.get(lane as usize) {
            board.open_offsets.store(open.offsets, Ordering::Relaxed);
            board.open_ms.store(open.age_ms, Ordering::Relaxed);
        }
    }))?;
    let kafka = Kafka {
        log,
        member: Mutex::default(),
        ours,
        tenants: Arc::new(tenants),
        said: Mutex::default(),
        intake: way,
        _agreement: agreement,
        _watch: watch,
    };
    let kafka = Arc::new(kafka);
    Ok(Running { engine, lanes, store, log: Log::Kafka(kafka), modules })
}

/// What to do when the topics are others than those of the layout: nothing is acknowledged any more, and every lane ends.
fn doubt(engine: &Engine, lanes: &Arc<Lanes>) -> impl FnOnce(String) + Send + 'static {
    let (engine, lanes) = (engine.clone(), Arc::clone(lanes));
    move |why| {
        engine.fail(&why);
        lanes.ways.iter().for_each(|(inbox, _)| inbox.tell(Control::Broken(why.clone())));
        lanes.fail(&why);
    }
}

/// The state store of the local copy. One that knows more than a copy that lost its tail is made anew.
fn open_store(config: &Config, log: &KafkaLog) -> anyhow::Result<Store> {
    let folder = config.data.join("store");
    let open = || Store::open(&folder, log.copy().id(), log.copy().end(), log.streams_max());
    match open() {
        Err(StoreError::Ahead(_)) => {
            tracing::warn!("the state store knows more than the local copy, which lost its tail: both are read again");
            std::fs::remove_dir_all(&folder)?;
            Ok(open()?)
        }
        opened => Ok(opened?),
    }
}
