//! What the log refused for what is in it is done again command by command, until the one is found whose answer it does
//! not take: that one is answered as failed, and nothing else suffers.

use crate::log::LogError;
use crate::message::Command;

/// Commands that are done again one by one.
#[derive(Debug, Default)]
pub(super) struct Redo {
    /// How many are still to be committed alone.
    left: usize,
    /// The one whose answer was refused when it was alone: its stream, its offset, and why.
    refused: Option<(u32, u64, String)>,
}

impl Redo {
    /// A block with the answers to these commands (stream and offset) was refused.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if it was the bare news that a command failed: the log takes nothing at all then.
    pub fn refused(&mut self, commands: &[(u32, u64)], why: &str) -> Result<(), LogError> {
        if let [(stream, offset)] = *commands {
            if self.refused.as_ref().is_some_and(|(of, at, _)| (*of, *at) == (stream, offset)) {
                return Err(LogError::Fatal(format!(
                    "the log takes no answer at all to the command at offset {offset} of stream {stream}: {why}"
                )));
            }
            self.refused = Some((stream, offset, why.to_owned()));
        }
        self.left = self.left.max(commands.len());
        Ok(())
    }

    /// A block with the answers to these commands (stream and offset) was committed.
    pub fn settled(&mut self, commands: impl ExactSizeIterator<Item = (u32, u64)>) {
        self.left = self.left.saturating_sub(commands.len());
        if let Some((stream, offset, _)) = &self.refused
            && { commands }.any(|one| one == (*stream, *offset))
        {
            self.refused = None;
        }
    }

    /// How many commands a block may hold.
    pub fn most(&self) -> usize {
        if self.left > 0 { 1 } else { usize::MAX }
    }

    /// Why the answer to a command was refused, if it was.
    pub fn why(&self, command: &Command) -> Option<&str> {
        let (stream, offset, why) = self.refused.as_ref()?;
        (*stream == command.partition && Some(*offset) == command.offset).then_some(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::test_kit::command;

    #[test]
    fn the_one_that_is_refused_alone_is_found_and_the_rest_goes_on() {
        let mut redo = Redo::default();
        assert_eq!(redo.most(), usize::MAX);
        redo.refused(&[(3, 10), (3, 11), (3, 14)], "too large").unwrap();
        assert_eq!(redo.most(), 1);
        let asked = |offset| Command { offset: Some(offset), partition: 3, ..command("id", 4, b"") };
        assert_eq!(redo.why(&asked(10)), None, "nobody knows yet which one it is");
        redo.settled([(3, 10)].into_iter());
        redo.refused(&[(3, 11)], "too large").unwrap();
        assert_eq!((redo.why(&asked(11)), redo.why(&asked(14))), (Some("too large"), None));
        redo.settled([(7, 1), (7, 2)].into_iter());
        assert_eq!(redo.why(&asked(11)), Some("too large"), "others went before it");
        redo.settled([(3, 11)].into_iter());
        redo.settled([(3, 14)].into_iter());
        assert_eq!((redo.most(), redo.why(&asked(11))), (usize::MAX, None));
    }

    #[test]
    fn a_log_that_takes_nothing_ends_the_lane() {
        let mut redo = Redo::default();
        redo.refused(&[(0, 5)], "no").unwrap();
        redo.refused(&[(0, 6)], "no").unwrap();
        let error = redo.refused(&[(0, 6)], "no").unwrap_err();
        assert!(matches!(&error, LogError::Fatal(why) if why.contains("offset 6")), "{error}");
    }
}
