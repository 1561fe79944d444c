package peer;

import com.fasterxml.jackson.core.JsonGenerator;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * The problem solved as well as Kafka Streams can: one processor owns the state, decides and evolves in the same step, so
 * that the next command sees what this one decided. Every command gets one answer: its event, or an outcome.
 */
final class Decide implements Processor<byte[], byte[], byte[], byte[]> {
    static final String STORE = "accounts";

    private final Answer answer = new Answer();
    private final Json json = new Json();
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<Bytes, byte[]> store;

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
        this.context = context;
        store = context.getStateStore(STORE);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        Bytes key = Bytes.wrap(record.key());
        State state = State.read(store.get(key));
        Command command = Json.command(record.value());
        byte[] commandId = Answer.commandId(record.headers());
        long expected = Answer.expectedVersion(record.headers());
        if (expected >= 0 && expected != state.version()) {
            refuse(record, commandId, "conflict", state, to -> {
                to.writeObjectFieldStart("conflict");
                to.writeNumberField("expected", expected);
                to.writeNumberField("actual", state.version());
                to.writeEndObject();
            });
            return;
        }
        if (command == null) {
            refuse(record, commandId, "failed", state, to -> {
                to.writeObjectFieldStart("failure");
                to.writeStringField("reason", "unreadable");
                to.writeStringField("message", "the value is no command");
                to.writeEndObject();
            });
            return;
        }
        Event event;
        try {
            event = Rules.decide(state, command);
        } catch (Rules.Rejected rejected) {
            refuse(record, commandId, "rejected", state, to -> rejection(rejected, to));
            return;
        }
        State after = state.evolve(event);
        store.put(key, after.bytes());
        forward(record, commandId, event, after.version(), json.write(event));
    }

    private static void rejection(Rules.Rejected why, JsonGenerator to) throws IOException {
        to.writeObjectFieldStart("rejection");
        to.writeStringField("code", why.code);
        if (why.state != null) {
            to.writeObjectFieldStart("details");
            to.writeNumberField("balance", why.state.balance());
            to.writeNumberField("limit", why.state.limit());
            to.writeNumberField("requested", why.requested);
            to.writeEndObject();
        }
        to.writeEndObject();
    }

    private void refuse(Record<byte[], byte[]> record, byte[] commandId, String outcome, State state, Json.Written why) {
        String id = new String(record.key(), StandardCharsets.UTF_8);
        String command = new String(commandId, StandardCharsets.US_ASCII);
        byte[] value = json.outcome(command, id, outcome, state.version(), Answer.MODULE, why);
        forward(record, commandId, null, state.version(), value);
    }

    private void forward(Record<byte[], byte[]> record, byte[] commandId, Event event, long version, byte[] value) {
        long offset = context.recordMetadata().map(from -> from.offset()).orElse(0L);
        long now = context.currentSystemTimeMs();
        Headers headers = answer.headers(record.key(), commandId, record.value(), event, version, offset, now);
        context.forward(new Record<>(record.key(), value, record.timestamp(), headers));
    }
}
