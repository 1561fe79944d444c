package peer;

/** The rules of examples/bank-account: the same decisions, to the letter. */
final class Rules {
    static final long AMOUNT_MAX = 100_000_000_000_000L;

    private Rules() {}

    /** Why a command was refused. */
    static final class Rejected extends Exception {
        final String code;
        final State state;
        final long requested;

        Rejected(String code) {
            this(code, null, 0);
        }

        /** Only `InsufficientFunds` has details. */
        Rejected(String code, State state, long requested) {
            super(code, null, false, false);
            this.code = code;
            this.state = state;
            this.requested = requested;
        }
    }

    static Event decide(State state, Command command) throws Rejected {
        boolean opens = command.kind() == Command.Kind.OPEN;
        if (state.status() == State.CLOSED) {
            throw new Rejected("Closed");
        }
        if (state.status() == State.OPEN && opens) {
            throw new Rejected("AlreadyOpen");
        }
        if (state.status() == State.NONE && !opens) {
            throw new Rejected("NotOpen");
        }
        long amount = command.amount();
        switch (command.kind()) {
            case OPEN -> {
                inRange(amount, 0, AMOUNT_MAX);
                return new Event(Event.Kind.OPENED, command.owner(), amount);
            }
            case DEPOSIT -> {
                inRange(amount, 1, AMOUNT_MAX - state.balance());
                return new Event(Event.Kind.DEPOSITED, null, amount);
            }
            case WITHDRAW -> {
                inRange(amount, 1, AMOUNT_MAX);
                if (amount > state.balance() + state.limit()) {
                    throw new Rejected("InsufficientFunds", state, amount);
                }
                return new Event(Event.Kind.WITHDRAWN, null, amount);
            }
            case RENAME -> {
                return new Event(Event.Kind.RENAMED, command.owner(), 0);
            }
            default -> {
                return new Event(Event.Kind.CLOSED, null, 0);
            }
        }
    }

    private static void inRange(long amount, long min, long max) throws Rejected {
        if (amount < min || amount > max) {
            throw new Rejected("AmountOutOfRange");
        }
    }
}
