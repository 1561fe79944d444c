package peer;

import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeFormatterBuilder;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;

/**
 * The headers of the answers: the same names, and values of the same length, as Ordain writes (docs/kafka.md), so that both
 * systems move the same bytes. Three are only of the right form: the hash is FNV of the value, the numbering of the
 * partition begins anew with each start, and module and term are constants.
 */
final class Answer {
    static final String MODULE = "sha256:" + "5a".repeat(32);
    private static final byte[] MODULE_BYTES = bytes(MODULE);
    private static final byte[] JSON = bytes("application/json");
    private static final byte[] SPEC_VERSION = bytes("1.0");
    private static final byte[] SOURCE = bytes("/ordain/peer");
    private static final byte[] OUTCOME = bytes("ordain.outcome");
    private static final byte[] ZERO = bytes("0");
    private static final byte[] ONE = bytes("1");
    private static final DateTimeFormatter TIME = new DateTimeFormatterBuilder().appendInstant(3).toFormatter();

    private final StringBuilder id = new StringBuilder(64);
    private long sequence;
    private long timeMs;
    private byte[] time = {};

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static byte[] commandId(Headers command) {
        Header id = command.lastHeader("ce_id");
        return id == null ? ZERO : id.value();
    }

    /** The version that the command expects, or -1. */
    static long expectedVersion(Headers command) {
        Header version = command.lastHeader("ce_expectedversion");
        return version == null ? -1 : Long.parseLong(new String(version.value(), StandardCharsets.US_ASCII));
    }

    /** Headers of an event, or, where `event` is null, of an outcome without events. */
    Headers headers(byte[] key, byte[] commandId, byte[] command, Event event, long version, long offset, long nowMs) {
        if (nowMs != timeMs || time.length == 0) {
            timeMs = nowMs;
            time = bytes(TIME.format(Instant.ofEpochMilli(nowMs)));
        }
        boolean happened = event != null;
        id.setLength(0);
        id.append("account/").append(new String(key, StandardCharsets.UTF_8)).append('/');
        if (happened) {
            id.append(version);
        } else {
            id.append("outcome-").append(sequence);
        }
        byte[] count = happened ? ONE : ZERO;
        Headers to = new RecordHeaders();
        to.add("content-type", JSON);
        to.add("ce_specversion", SPEC_VERSION);
        to.add("ce_id", bytes(id.toString()));
        to.add("ce_source", SOURCE);
        to.add("ce_type", happened ? event.kind().type : OUTCOME);
        to.add("ce_subject", key);
        to.add("ce_time", time);
        to.add("ce_sequence", bytes(Long.toString(version)));
        to.add("ce_commandid", commandId);
        to.add("ce_commandhash", hash(command));
        to.add("ce_commandindex", count);
        to.add("ce_commandcount", count);
        to.add("ce_commandoffset", bytes(Long.toString(offset)));
        to.add("ce_logsequence", bytes(Long.toString(sequence++)));
        to.add("ce_module", MODULE_BYTES);
        to.add("ce_epoch", ZERO);
        return to;
    }

    private static byte[] hash(byte[] value) {
        long hash = 0xcbf29ce484222325L;
        for (byte one : value) {
            hash = (hash ^ (one & 0xff)) * 0x100000001b3L;
        }
        byte[] text = new byte[16];
        for (int i = 15; i >= 0; i--) {
            text[i] = (byte) Character.forDigit((int) (hash & 15), 16);
            hash >>>= 4;
        }
        return text;
    }
}
