//! The suite that every [`LaneLog`] passes unchanged: its obligations as checks that panic when they are broken.
//!
//! An implementation brings a [`Bench`], which opens its log, kills it and makes a commit doubtful, and runs [`SUITE`]
//! with a fresh one for each check.

mod checks;
pub(in crate::log) mod owner;
mod races;

use super::{LaneLog, OnCommitted};

/// Lanes and partitions that every bench's log has.
pub const LANES: u32 = 2;
/// See [`LANES`].
pub const PARTITIONS: u32 = 8;

/// A log under test.
pub trait Bench: Sync {
    /// A handle of a new owner of a lane.
    fn lane(&self, lane: u32, on_committed: OnCommitted) -> Box<dyn LaneLog>;

    /// Ends the owners' process in an orderly way and starts it again, with that many lanes. `false` if the log cannot
    /// change its lanes; it is as it was then. Handles from before are dead.
    fn reopen(&mut self, lanes: u32) -> bool;

    /// The owners' machine dies: what is not durable is gone. It is started again with [`LANES`] lanes.
    fn crash(&mut self);

    /// Lets the next commit of a lane come back as anything but a plain success, although it happened, or because it
    /// did not.
    fn make_doubtful(&self, lane: u32, happens: bool);
}

/// A check, with a name for people.
pub type Check = (&'static str, fn(&mut dyn Bench));

/// All checks. Each wants a log of its own.
pub const SUITE: &[Check] = &[
    ("taking fences", checks::taking_fences),
    ("a former owner learns that it lost the lane", checks::a_former_owner_learns_it),
    ("lanes do not disturb each other", checks::lanes_are_independent),
    ("restore ends at one's own record", checks::restore_ends_at_ones_own_record),
    ("replay begins where it is told", checks::replay_begins_where_it_is_told),
    ("every block is answered once and in order", checks::answers_come_once_and_in_order),
    ("big blocks", checks::big_blocks),
    ("many entries", checks::many_entries),
    ("reopening", checks::reopening),
    ("another number of lanes", checks::another_number_of_lanes),
    ("a crash loses nothing acknowledged", checks::a_crash_loses_nothing_acknowledged),
    ("doubt about a commit that happened", checks::doubt_about_a_commit_that_happened),
    ("doubt about a commit that did not happen", checks::doubt_about_a_commit_that_did_not_happen),
    ("a lane lost in the middle of a commit", races::a_lane_lost_in_the_middle_of_a_commit),
    ("taking anew under load", races::taking_anew_under_load),
    ("two owners racing", races::two_owners_racing),
    ("lanes at once", races::lanes_at_once),
];
