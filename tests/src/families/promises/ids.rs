//! A command id stands for one command and one answer.

use anyhow::ensure;
use ordain_checker::history::Ending;
use serde_json::{Value, json};

use crate::client::stream::{Feed, Streaming};
use crate::command::Command;
use crate::families::asking::{deposit, hand, open, with_status};
use crate::field::Counts;
use crate::hand::Hand;
use crate::stage::Stage;
use crate::witness::{Known, Witness};

/// The same id gets the same answer, marked; another body under it is refused: by single requests and in a stream,
/// before and after a kill, whatever the first answer was.
pub async fn known_ids_get_the_first_answer(stage: &mut Stage) -> anyhow::Result<Counts> {
    let mut one = hand(stage, "ids")?;
    one.decided(&open("ids")).await?;
    let commands = [
        (deposit("ids", "ids-accepted", 500), 200),
        (Command::new("account", "ids", "ids-rejected", &json!({"Withdraw": {"amount": 9_999_999}})), 422),
        (deposit("ids", "ids-conflict", 1).expecting(77), 409),
        (Command::new("account", "ids", "ids-unreadable", &json!({"Dance": {}})), 400),
    ];
    let mut first = Vec::new();
    for (command, status) in &commands {
        let said = with_status(&one.attempt(command).await.0?, *status)?;
        ensure!(said.get("replayed").is_none(), "the first answer is marked as repeated: {said}");
        first.push(said);
    }
    // What was a conflict would be accepted now, and is a conflict all the same.
    for n in 0..75 {
        one.decided(&deposit("ids", &format!("ids-more-{n}"), 1)).await?;
    }
    let mut repeats = 0;
    for kill in [false, true] {
        if kill {
            stage.kill()?;
            stage.start().await?;
        }
        for ((command, status), first) in commands.iter().zip(&first) {
            repeats += repeated(&mut one, command, *status, first).await?;
        }
        repeats += streamed(stage, &commands, kill).await?;
    }
    // An id belongs to its aggregate.
    one.decided(&open("ids-2")).await?;
    let elsewhere = one.decided(&deposit("ids-2", "ids-accepted", 500)).await?;
    ensure!(!elsewhere.replayed && elsewhere.version == 2, "an id of another account counts here: {elsewhere:?}");
    one.witness.flush()?;
    Ok(Counts::from([("repeats", repeats)]))
}

async fn repeated(one: &mut Hand, command: &Command, status: u16, first: &Value) -> anyhow::Result<u64> {
    let mut again = with_status(&one.attempt(command).await.0?, status)?;
    let marked = again.as_object_mut().and_then(|said| said.remove("replayed"));
    ensure!(marked == Some(Value::Bool(true)), "a repeat that is not marked: {again}");
    ensure!(again == *first, "the first answer was {first}, the repeat got {again}");
    let other = deposit("ids", &command.command_id, 4_711);
    let said = with_status(&one.attempt(&other).await.0?, 422)?;
    ensure!(said["outcome"] == "failed" && said["failure"]["reason"] == "command_id_reused", "{said}");
    Ok(2)
}

/// The same over a stream, each line twice at once, so that a repeat meets an answer that is not committed yet.
async fn streamed(stage: &Stage, commands: &[(Command, u16)], after_kill: bool) -> anyhow::Result<u64> {
    let name = format!("ids-stream-{after_kill}");
    let fresh = deposit("ids", &name, 3);
    let mut lines: Vec<Command> = commands.iter().map(|(command, _)| command.clone()).collect();
    lines.extend(commands.iter().map(|(command, _)| deposit("ids", &command.command_id, 4_712)));
    lines.extend([fresh.clone(), fresh.clone(), fresh, deposit("ids", &name, 4)]);
    let mut witness = Witness::new(&stage.history, &name)?;
    let mut heard: Vec<(String, Known)> = Vec::new();
    let streaming = Streaming { address: *stage.address().borrow(), stream: 0, in_flight: 64, per_second: None };
    let mut note = |command: &Command, known: &Known| heard.push((command.command.get().to_owned(), known.clone()));
    let count = lines.len() as u64;
    streaming.run(&mut Feed::new(lines.into_iter()), &mut witness, &mut note).await?;
    witness.flush()?;
    let of =
        |body: &str| heard.iter().filter(|(sent, _)| sent.contains(body)).map(|(_, known)| known).collect::<Vec<_>>();
    let reused = |known: &&Known| known.outcome == Ending::Failed && known.code.as_deref() == Some("command_id_reused");
    ensure!(of("4712").len() == 4 && of("4712").iter().all(reused), "another body under a known id: {heard:?}");
    ensure!(of(":4}").len() == 1 && of(":4}").iter().all(reused), "another body under an id on its way: {heard:?}");
    let fresh = of(":3}");
    let first = fresh.iter().filter(|known| !known.replayed).count();
    ensure!(fresh.len() == 3 && first == 1, "three lines of one command are one answer and two repeats: {heard:?}");
    let known = [of(":500}"), of("9999999"), of(":1}"), of("Dance")].concat();
    ensure!(known.len() == 4 && known.iter().all(|known| known.replayed), "repeats that are not marked: {heard:?}");
    Ok(count)
}
