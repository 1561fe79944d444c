//! The commands of the story: always the same for the same seed.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use ordain_tests::command::Command;
use ordain_tests::dice::Dice;
use serde_json::{Value, json};

/// Commands per account, about.
const PER_ACCOUNT: u64 = 20;

/// Writes the file of commands, in the form that `ordain send --file` reads.
///
/// # Errors
/// If it cannot be written.
pub fn write(path: &Path, seed: u64, commands: u64) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut file = BufWriter::new(file);
    let mut dice = Dice::new(seed, "script");
    let (mut opened, accounts) = (0, (commands / PER_ACCOUNT).max(1));
    let mut line = Vec::new();
    for number in 0..commands {
        let wrong = number % 10 == 9;
        let open = opened == 0 || (!wrong && opened < accounts && dice.below(8) == 0);
        let account = if open { opened } else { dice.below(opened) };
        opened += u64::from(open);
        let asked = if open { opening(&mut dice, account) } else { business(&mut dice) };
        let mut command = Command::new("account", &format!("acc-{account}"), &format!("file-{seed}-{number}"), &asked);
        if open {
            command = command.expecting(0);
        } else if wrong {
            // An open account is never at version 0, nor further than the number of commands there were.
            command = command.expecting(if dice.below(2) == 0 { 0 } else { number + 1 + dice.below(9) });
        }
        line.clear();
        command.write_line(&mut line);
        file.write_all(&line)?;
    }
    file.flush().with_context(|| format!("cannot write {}", path.display()))
}

fn opening(dice: &mut Dice, account: u64) -> Value {
    json!({"Open": {"owner": format!("owner {account}"), "overdraft_limit": dice.below(5) * 5_000}})
}

fn business(dice: &mut Dice) -> Value {
    match dice.below(200) {
        0..100 => json!({"Deposit": {"amount": 1 + dice.below(50_000)}}),
        100..190 => json!({"Withdraw": {"amount": 1 + dice.below(50_000)}}),
        190..199 => json!({"Rename": {"owner": format!("owner {}", dice.below(100_000))}}),
        _ => json!({"Close": {}}),
    }
}

/// The commands of a file, read as they are needed.
///
/// # Errors
/// If the file cannot be opened.
pub fn read(path: &Path) -> anyhow::Result<impl Iterator<Item = Command> + Send + 'static> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
    Ok(lines.map(|line| serde_json::from_slice(&line).expect("the file was written by this program")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_commands_and_a_tenth_expects_a_wrong_version() {
        let folder = std::env::temp_dir().join(format!("ordain-demo-script-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (first, second) = (folder.join("a"), folder.join("b"));
        write(&first, 7, 5_000).unwrap();
        write(&second, 7, 5_000).unwrap();
        assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap());
        let commands: Vec<_> = read(&first).unwrap().collect();
        let opens = |command: &&Command| command.command.get().starts_with(r#"{"Open"#);
        let wrong = commands.iter().filter(|command| command.expected_version.is_some() && !opens(command)).count();
        assert_eq!((commands.len(), wrong), (5_000, 500));
        assert_eq!(commands.iter().filter(opens).count(), 250);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
