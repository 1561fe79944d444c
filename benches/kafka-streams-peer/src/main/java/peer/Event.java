package peer;

/** What happened. `amount` is the limit of an account that was opened; `owner` is there where the event names one. */
record Event(Kind kind, String owner, long amount) {
    enum Kind {
        OPENED("Opened"), DEPOSITED("Deposited"), WITHDRAWN("Withdrawn"), RENAMED("Renamed"), CLOSED("Closed");

        final String word;
        final byte[] type;

        Kind(String word) {
            this.word = word;
            this.type = ("account." + word).getBytes(java.nio.charset.StandardCharsets.US_ASCII);
        }
    }
}
