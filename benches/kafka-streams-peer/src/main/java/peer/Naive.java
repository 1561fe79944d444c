package peer;

import java.util.Arrays;
import java.util.List;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.FixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * The topology of the question, as people write it first: a KTable reduces the topic of events to states, and commands are
 * joined with it. A command that follows another one at once is joined with a state that has not seen its event yet.
 */
final class Naive {
    private Naive() {}

    static Topology topology(String prefix) {
        var bytes = Serdes.ByteArray();
        StreamsBuilder builder = new StreamsBuilder();
        KTable<byte[], byte[]> accounts = builder
            .stream(prefix + "account.events", Consumed.with(bytes, bytes))
            .filter((key, value) -> isEvent(value))
            .groupByKey(Grouped.with(bytes, bytes))
            .aggregate(
                State.NEW::bytes,
                (key, event, state) -> State.read(state).evolve(Json.event(event)).bytes(),
                Materialized.<byte[], byte[], KeyValueStore<Bytes, byte[]>>as("accounts")
                    .withKeySerde(bytes).withValueSerde(bytes));
        builder
            .stream(prefix + "account.commands", Consumed.with(bytes, bytes))
            .leftJoin(accounts, Naive::join, Joined.with(bytes, bytes, bytes))
            .processValues(Tell::new)
            .to(prefix + "account.events", Produced.with(bytes, bytes));
        return builder.build();
    }

    private static boolean isEvent(byte[] value) {
        byte[] outcome = Answer.bytes("{\"command_id\"");
        return value != null && !Arrays.equals(value, 0, Math.min(value.length, outcome.length), outcome, 0, outcome.length);
    }

    /** What the command and the state, as the table knows it, make together; the version goes along. */
    private static List<Object> join(byte[] value, byte[] bytes) {
        State state = State.read(bytes);
        try {
            Event event = Rules.decide(state, Json.command(value));
            return List.of(value, state.version() + 1L, event);
        } catch (Rules.Rejected rejected) {
            return List.of(value, (long) state.version(), rejected);
        }
    }

    private static final class Tell implements FixedKeyProcessor<byte[], List<Object>, byte[]> {
        private final Answer answer = new Answer();
        private final Json json = new Json();
        private FixedKeyProcessorContext<byte[], byte[]> context;

        @Override
        public void init(FixedKeyProcessorContext<byte[], byte[]> context) {
            this.context = context;
        }

        @Override
        public void process(FixedKeyRecord<byte[], List<Object>> record) {
            byte[] command = (byte[]) record.value().get(0);
            long version = (Long) record.value().get(1);
            byte[] commandId = Answer.commandId(record.headers());
            Event event = record.value().get(2) instanceof Event one ? one : null;
            byte[] value = event != null ? json.write(event) : refusal(record, commandId, version);
            long now = context.currentSystemTimeMs();
            var headers = answer.headers(record.key(), commandId, command, event, version, 0, now);
            context.forward(record.withValue(value).withHeaders(headers));
        }

        private byte[] refusal(FixedKeyRecord<byte[], List<Object>> record, byte[] commandId, long version) {
            String code = ((Rules.Rejected) record.value().get(2)).code;
            String id = new String(record.key(), java.nio.charset.StandardCharsets.UTF_8);
            String command = new String(commandId, java.nio.charset.StandardCharsets.US_ASCII);
            return json.outcome(command, id, "rejected", version, Answer.MODULE, to -> {
                to.writeObjectFieldStart("rejection");
                to.writeStringField("code", code);
                to.writeEndObject();
            });
        }
    }
}
