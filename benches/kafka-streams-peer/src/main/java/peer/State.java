package peer;

import java.nio.ByteBuffer;

/** What decisions need of an account, in 21 bytes: status, version, balance, limit. The owner's name is in the events. */
record State(byte status, int version, long balance, long limit) {
    static final byte NONE = 0;
    static final byte OPEN = 1;
    static final byte CLOSED = 2;
    static final State NEW = new State(NONE, 0, 0, 0);

    static State read(byte[] bytes) {
        if (bytes == null) {
            return NEW;
        }
        ByteBuffer from = ByteBuffer.wrap(bytes);
        return new State(from.get(), from.getInt(), from.getLong(), from.getLong());
    }

    byte[] bytes() {
        return ByteBuffer.allocate(21).put(status).putInt(version).putLong(balance).putLong(limit).array();
    }

    State evolve(Event event) {
        return switch (event.kind()) {
            case OPENED -> new State(OPEN, version + 1, 0, event.amount());
            case DEPOSITED -> new State(status, version + 1, balance + event.amount(), limit);
            case WITHDRAWN -> new State(status, version + 1, balance - event.amount(), limit);
            case RENAMED -> new State(status, version + 1, balance, limit);
            case CLOSED -> new State(CLOSED, version + 1, balance, limit);
        };
    }
}
