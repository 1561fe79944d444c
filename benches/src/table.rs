//! The figures for people.

use ordain_tests::figures::{Figure, Figures};
use serde_json::Value;

/// Prints the figures as a table.
pub fn print(figures: &Figures) {
    let machine = &figures.machine;
    println!("revision {} on {} cores, kernel {}, {}", figures.revision, machine.cores, machine.kernel, machine.disk);
    let rows: Vec<[String; 5]> = figures.results.iter().map(row).collect();
    let head = ["name", "measured", "unit", "goal", "holds"].map(str::to_owned);
    let widths: [usize; 5] = std::array::from_fn(|column| {
        rows.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    for [name, measured, unit, goal, holds] in std::iter::once(&head).chain(&rows) {
        let [a, b, c, d, e] = widths;
        println!("{name:a$}  {measured:>b$}  {unit:c$}  {goal:d$}  {holds:e$}");
    }
}

fn row(figure: &Figure) -> [String; 5] {
    let holds = match figure.holds {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "",
    };
    let goal = figure.goal.clone().unwrap_or_default();
    [figure.name.clone(), number(&figure.measured), figure.unit.clone(), goal, holds.to_owned()]
}

fn number(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if number.abs() >= 1000.0 => grouped(number.round() as i64),
        Some(number) => format!("{number}"),
        None => value.to_string(),
    }
}

fn grouped(number: i64) -> String {
    let digits = number.abs().to_string();
    let first = digits.len() % 3;
    let mut out = if number < 0 { "-".to_owned() } else { String::new() };
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && at % 3 == first {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
