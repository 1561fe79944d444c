use super::*;

fn opened() -> Event {
    Event::Opened { owner: "Ada".to_owned(), overdraft_limit: 500 }
}

fn open(owner: &str, overdraft_limit: i64) -> Command {
    Command::Open { owner: owner.to_owned(), overdraft_limit }
}

#[test]
fn an_account_opens_once() {
    given::<Account>([])
        .when(open("Ada", 500))
        .then([opened()])
        .then_state(|account| assert_eq!((account.status, account.balance), (Status::Open, 0)))
        .when(open("Bob", 0))
        .then_rejected(Rejection::AlreadyOpen);
}

#[test]
fn nothing_happens_before_it_is_open() {
    for command in [Command::Deposit { amount: 1 }, Command::Withdraw { amount: 1 }, Command::Close {}] {
        given::<Account>([]).when(command).then_rejected(Rejection::NotOpen);
    }
}

#[test]
fn a_withdrawal_may_use_the_overdraft_and_no_more() {
    given::<Account>([opened(), Event::Deposited { amount: 1_000 }])
        .when(Command::Withdraw { amount: 1_500 })
        .then([Event::Withdrawn { amount: 1_500 }])
        .then_state(|account| assert_eq!(account.balance, -500))
        .when(Command::Withdraw { amount: 1 })
        .then_rejected(Rejection::InsufficientFunds { balance: -500, limit: 500, requested: 1 });
}

#[test]
fn a_rename_right_after_a_close_is_rejected() {
    given::<Account>([opened()])
        .when(Command::Rename { owner: "Eve".to_owned() })
        .then([Event::Renamed { owner: "Eve".to_owned() }])
        .when(Command::Close {})
        .then([Event::Closed {}])
        .when(Command::Rename { owner: "Bob".to_owned() })
        .then_rejected(Rejection::Closed)
        .when(open("Bob", 0))
        .then_rejected(Rejection::Closed);
}

#[test]
fn amounts_stay_in_range() {
    for command in [
        Command::Deposit { amount: 0 },
        Command::Deposit { amount: i64::MAX },
        Command::Withdraw { amount: -1 },
        Command::Withdraw { amount: i64::MAX },
    ] {
        given::<Account>([opened()]).when(command).then_rejected(Rejection::AmountOutOfRange);
    }
    given::<Account>([]).when(open("Ada", -1)).then_rejected(Rejection::AmountOutOfRange);
    given::<Account>([opened(), Event::Deposited { amount: AMOUNT_MAX }])
        .when(Command::Deposit { amount: 1 })
        .then_rejected(Rejection::AmountOutOfRange);
}
