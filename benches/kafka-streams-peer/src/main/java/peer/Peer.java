package peer;

import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.Stores;

/**
 * {@code Peer BOOTSTRAP PREFIX FOLDER persistent|memory|naive [KEY=VALUE]...}: answers the commands of a prefix until it is
 * told to stop; says RUNNING each time it runs. What follows are properties of Kafka Streams.
 */
public final class Peer {
    private Peer() {}

    public static void main(String[] args) throws InterruptedException {
        String prefix = args[1];
        String store = args[3];
        Properties properties = properties(args);
        Topology topology = store.equals("naive") ? Naive.topology(prefix) : topology(prefix, store.equals("memory"));
        KafkaStreams streams = new KafkaStreams(topology, properties);
        streams.setStateListener((now, before) -> System.out.println(now));
        CountDownLatch ended = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(problem -> {
            problem.printStackTrace();
            ended.countDown();
            return org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse
                .SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close(Duration.ofSeconds(20));
            ended.countDown();
        }));
        streams.start();
        ended.await();
    }

    /** Defaults of Kafka Streams, but for what exactly-once and the comparison need. */
    private static Properties properties(String[] args) {
        Properties properties = new Properties();
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, args[1] + "peer");
        properties.put(StreamsConfig.STATE_DIR_CONFIG, args[2]);
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        // As many as Ordain has lanes in this comparison: Kafka Streams' default is one.
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        // What is forwarded is written: nothing waits in a cache for the next commit.
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
        // As Ordain's.
        properties.put(StreamsConfig.producerPrefix("compression.type"), "lz4");
        // A process that was killed comes back as the same member: without it, its partitions wait for the session to end.
        properties.put(StreamsConfig.consumerPrefix("group.instance.id"), "peer");
        properties.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        for (int i = 4; i < args.length; i++) {
            String[] pair = args[i].split("=", 2);
            properties.put(pair[0], pair[1]);
        }
        return properties;
    }

    private static Topology topology(String prefix, boolean inMemory) {
        KeyValueBytesStoreSupplier supplier = inMemory
            ? Stores.inMemoryKeyValueStore(Decide.STORE)
            : Stores.persistentKeyValueStore(Decide.STORE);
        var store = Stores.keyValueStoreBuilder(supplier, Serdes.Bytes(), Serdes.ByteArray())
            .withCachingDisabled()
            .withLoggingEnabled(Map.of());
        Topology topology = new Topology();
        topology.addSource("commands", new ByteArrayDeserializer(), new ByteArrayDeserializer(), prefix + "account.commands");
        topology.addProcessor("decide", Decide::new, "commands");
        topology.addStateStore(store, "decide");
        var bytes = new ByteArraySerializer();
        topology.addSink("events", prefix + "account.events", bytes, bytes, "decide");
        return topology;
    }
}
