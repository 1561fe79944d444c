//! What a module may cost to compile, estimated from the form of its functions.
//!
//! Some of the compiler's steps are proportional to a function's locals times its blocks, its *breadth*; the good
//! register allocator is, at worst, proportional to the square of that: half a minute for a function of 15 KB.

/// Sum of the breadths of all functions. At the limit the linear steps take half a minute; the bank example has sixty
/// thousand.
const BREADTH_MAX: u64 = 5_000_000;
/// Sum of their squares. At this the good allocator takes a dozen seconds at worst; the bank example has half a thousand
/// millions.
const SQUARES_COSTLY: u64 = 20_000_000_000;

/// The functions seen so far.
#[derive(Debug, Default)]
pub struct Cost {
    breadth: u64,
    squares: u64,
}

impl Cost {
    /// Adds a function; `false` if the module is too broad now.
    #[must_use]
    pub fn add(&mut self, locals: u64, blocks: u64) -> bool {
        let breadth = locals.saturating_mul(blocks);
        self.breadth = self.breadth.saturating_add(breadth);
        self.squares = self.squares.saturating_add(breadth.saturating_mul(breadth));
        self.breadth <= BREADTH_MAX
    }

    /// Whether the module has to be compiled by the allocator whose time is linear.
    pub fn is_costly(&self) -> bool {
        self.squares > SQUARES_COSTLY
    }
}
