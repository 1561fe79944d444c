package peer;

/** What was asked. `amount` is the limit of an account to be opened. */
record Command(Kind kind, String owner, long amount) {
    enum Kind { OPEN, DEPOSIT, WITHDRAW, RENAME, CLOSE }
}
